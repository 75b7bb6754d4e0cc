//! The end-to-end stories: each in a namespace of its own, on one real cluster that they share.
//!
//! Where no cluster can be had, the stories are listed as ignored, with what is missing; in CI that is a failure.
//! `SIGNALBOX_E2E_KEEP=1` leaves the cluster up for the next run, which then starts within seconds.

mod chart;
mod claims;
mod dead_letters;
mod draining;
mod events;
mod faults;
mod gateway;
mod idle;
mod main_job;
mod manifests;
mod network;
mod operator;
mod ownership;
mod regions;
mod rights;
mod scaling;
mod sinks;
mod theatre;
mod trouble;

use std::io::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use theatre::{Story, Theatre};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // More at once than cores: stories mostly wait for Kubernetes. With six on two cores, name servers did not answer in time.
    let threads = arguments.test_threads.unwrap_or(4);

    // Those that disturb nobody, side by side.
    let mut together: Vec<Story> = vec![
        Story::new("the_main_job_from_manifest_to_deletion_loses_nothing", main_job::story),
        Story::new("a_shard_goes_only_after_it_has_handed_over_what_it_holds", draining::fewer_shards),
        Story::new("a_region_goes_only_after_it_has_delivered_what_it_holds", draining::fewer_regions),
        Story::new("shards_follow_the_backlog_and_drain_before_they_go", scaling::follows_the_backlog),
        Story::new(
            "whoever_scales_a_region_from_outside_is_left_alone_and_loses_nothing",
            scaling::leaves_it_to_others,
        ),
        Story::new("sinks_in_trouble_are_named_and_disturb_no_other", sinks::story),
        Story::new("what_a_sink_refuses_for_good_is_told_and_can_be_replayed", dead_letters::story),
        Story::new("sinks_get_the_events_of_their_filter_signed_with_their_secret", events::filters_and_signatures),
        Story::new("a_fleet_waits_for_its_certificate_and_then_speaks_https", events::https),
        Story::new("an_image_that_cannot_be_had_is_named_and_put_right", trouble::image),
        Story::new("a_storage_class_that_is_missing_is_named", trouble::storage_class),
        Story::new("a_shard_that_no_node_takes_is_named", trouble::unschedulable),
        Story::new("a_region_whose_sink_fails_is_tripped_and_no_producer_notices", regions::failing::one_sink),
        Story::new("a_sink_that_fails_everywhere_trips_no_region_and_is_named", regions::failing::sink_everywhere),
        Story::new("where_every_region_fails_one_keeps_its_traffic", regions::failing::every_region),
        Story::new("a_region_whose_shards_crash_is_tripped_and_comes_back", regions::failing::crash_loop),
        Story::new("a_region_that_fails_again_while_it_comes_back_is_tripped_again", regions::failing::relapse),
        Story::new("the_weights_of_a_route_follow_a_trip_and_no_request_fails", gateway::story),
        Story::new("a_region_is_drained_and_held_by_order_and_comes_back_when_that_ends", regions::orders::story),
        Story::new("a_drill_says_whether_the_fleet_survives_the_loss_of_a_region", regions::orders::drill),
        Story::new("objects_of_others_are_left_alone", ownership::story),
        Story::new("a_change_by_hand_is_put_right", ownership::drift),
    ];
    together.extend(manifests::stories());
    // Those that disturb everybody, one after the other, and last those that take the operator away.
    let alone: Vec<Story> = vec![
        Story::new("shards_come_and_go_under_load_and_no_producer_notices", claims::scales_under_load),
        Story::new("all_shards_are_restarted_under_load_and_no_producer_notices", claims::restarts_under_load),
        Story::new("twenty_idle_fleets_cost_the_api_server_nothing", idle::story),
        Story::new("a_new_leader_restarts_no_pod_and_writes_nothing_but_the_lease", operator::new_leader),
        Story::new("a_restart_of_the_operator_writes_nothing_but_the_lease", operator::restart),
        Story::new(
            "slots_change_hands_although_the_operator_and_a_shard_are_killed_meanwhile",
            claims::killed_in_the_middle,
        ),
        Story::new("the_faults_that_stories_are_about_begin_and_end_as_they_should", faults::story),
        Story::new("a_region_that_is_cut_off_and_brought_back_loses_nothing", network::story),
        Story::new("a_region_that_is_cut_off_is_sent_nothing_new_and_comes_back_step_by_step", regions::lost::cut_off),
        Story::new("a_region_that_hears_or_is_heard_one_way_only_is_tripped", regions::lost::one_way),
        Story::new("a_region_whose_network_loses_packets_keeps_its_traffic", regions::lost::lossy),
        Story::new("a_region_behind_a_slow_network_keeps_its_traffic", regions::lost::slow),
        Story::new("a_region_that_comes_and_goes_is_kept_out_longer_each_time", regions::lost::flapping),
        Story::new("a_region_that_loses_a_node_keeps_its_traffic", regions::lost::one_node),
        Story::new("an_api_server_that_does_not_answer_trips_no_region", regions::away::api_server),
        Story::new("a_name_server_that_does_not_answer_trips_no_region", regions::away::name_servers),
        Story::new("a_leader_that_stood_still_writes_nothing_when_it_goes_on", regions::away::stopped_leader),
        Story::new("the_operator_may_do_what_it_does_and_no_more", rights::story),
        Story::new("the_chart_refuses_bad_values_and_renders_what_it_says", chart::renders),
        Story::new("a_fleet_goes_on_without_its_operator_and_survives_its_removal", chart::uninstall),
        Story::new("an_operator_for_one_namespace_needs_no_more_than_a_role", chart::namespaced),
    ];

    let names: Vec<_> = together.iter().chain(&alone).map(Story::name).collect();
    if arguments.list || !names.iter().any(|name| !arguments.is_filtered_out(&Trial::test(*name, || Ok(())))) {
        let trials = names.iter().map(|name| Trial::test(*name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let theatre = match Theatre::open() {
        Ok(theatre) => theatre,
        Err(why) => return without_cluster(&arguments, &names, &why),
    };
    arguments.test_threads = Some(threads);
    let first = libtest_mimic::run(&arguments, together.into_iter().map(|story| theatre.trial(story)).collect());
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, alone.into_iter().map(|story| theatre.trial(story)).collect());
    let closed = theatre.close();
    if let Err(error) = &closed {
        let _ = writeln!(std::io::stderr(), "the cluster could not be taken down: {error:#}");
    }
    if first.has_failed() || second.has_failed() || closed.is_err() { ExitCode::from(101) } else { ExitCode::SUCCESS }
}

/// No cluster: on a developer's machine that is told, in CI it is a failure.
fn without_cluster(arguments: &Arguments, names: &[&'static str], why: &theatre::NoTheatre) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "\n{} stories cannot be run: {why}\n", names.len());
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let trials = names.iter().map(|name| Trial::test(*name, || Ok(())).with_ignored_flag(true)).collect();
    let told = libtest_mimic::run(arguments, trials);
    if in_ci || why.is_failure() { ExitCode::from(101) } else { told.exit_code() }
}
