//! A simulated region: shards with queues, processors and volumes, and a sink that they share. It knows nothing of how
//! limits are told; it only does work, tenth of a second by tenth of a second, and reports what a shard reports.

use signalbox_contract::{ShardReport, SinkReport, Usage};

use super::support::Dice;

const STEP: f64 = 0.1;
const WINDOW: f64 = 8192.0;

/// What a region has, and what comes in.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Events a second in all.
    pub(super) load: f64,
    /// Part of the load that is for the first shard; the others share the rest.
    pub(super) first_share: f64,
    /// Part of the load that is of one key, which the first shard has.
    pub(super) hot_share: f64,
    /// Events that a shard receives in a second.
    pub(super) receive: f64,
    /// Events that a shard's volume takes in a second, and seconds that a write takes.
    pub(super) disk: f64,
    pub(super) sync: f64,
    /// Processors of a shard, and processor seconds that an event costs when it comes and when it goes.
    pub(super) processors: f64,
    pub(super) cost: [f64; 2],
    /// Attempts at once of a shard, and seconds that one takes.
    pub(super) concurrency: f64,
    pub(super) attempt: f64,
    /// Events a second that the sink takes from all shards, and whether it says so or lets them wait.
    pub(super) sink: f64,
    pub(super) throttles: bool,
}

/// One shard at work.
#[derive(Clone, Debug, Default)]
struct Shard {
    cold: f64,
    hot: f64,
    /// Attempts at once that the sink is trusted with.
    limit: f64,
    /// The sink asked to be left alone for so long.
    held: f64,
    in_flight: f64,
    /// Totals, before they are rounded.
    accepted: f64,
    settled: f64,
    refused: f64,
    cpu: f64,
    busy: f64,
    waited: f64,
    delivered: f64,
    throttled: f64,
    attempt_seconds: f64,
    limited: f64,
}

/// The shards of a region, over time.
pub(super) struct Region {
    pub(super) world: World,
    shards: Vec<Shard>,
    time: f64,
    tokens: f64,
    in_flight: f64,
    dice: Dice,
    sink_name: String,
}

impl Region {
    pub(super) fn new(world: World, shards: u32, sink_name: &str, seed: u64) -> Self {
        let limit = world.concurrency;
        let shards = (0..shards).map(|_| Shard { limit, ..Shard::default() }).collect();
        let dice = Dice::new(seed ^ 0xabcd);
        Self { world, shards, time: 100.0, tokens: 0.0, in_flight: 0.0, dice, sink_name: sink_name.to_owned() }
    }

    /// Lets a second pass.
    pub(super) fn second(&mut self) {
        for _ in 0..10 {
            self.step();
        }
    }

    fn step(&mut self) {
        let world = self.world.clone();
        self.time += STEP;
        self.tokens = (self.tokens + world.sink * STEP).min(world.sink);
        let others = (self.shards.len() - 1).max(1) as f64;
        let count = self.shards.len();
        // A sink that lets attempts wait takes the longer the more there are.
        let attempt = world.attempt * self.dice.between(0.9, 1.1);
        let attempt = if world.throttles { attempt } else { attempt.max(self.in_flight / world.sink) };
        let mut in_flight = 0.0;
        let begin = usize::try_from((self.time * 10.0) as u64).unwrap() % count;
        for at in (0..count).map(|at| (at + begin) % count) {
            let burst = if self.dice.fraction() < 0.03 { 2.5 } else { 0.95 };
            let noise = self.dice.between(0.6, 1.4) * burst * STEP;
            let cold = world.load * (1.0 - world.hot_share);
            let of_load = match at {
                _ if count == 1 => 1.0,
                0 => world.first_share,
                _ => (1.0 - world.first_share) / others,
            };
            let cold = cold * of_load * noise;
            let hot = if at == 0 { world.load * world.hot_share * noise } else { 0.0 };
            let shard = &mut self.shards[at];
            // In: what is received, written, and has processors for it.
            let wanted = cold + hot;
            let fits = wanted.min(world.receive.min(world.disk) * STEP);
            shard.refused += wanted - fits;
            let most = world.processors * STEP;
            let accepted = fits.min(most / world.cost[0]);
            let part = if wanted > 0.0 { accepted / wanted } else { 0.0 };
            (shard.cold, shard.hot) = (shard.cold + cold * part, shard.hot + hot * part);
            shard.accepted += accepted;
            shard.busy += STEP * (accepted / STEP * world.sync).max(accepted / STEP / world.disk).min(1.0);
            // What the volume does not take waits until 64 MiB of it do, a kilobyte each; else for a write or two.
            let full = world.disk <= world.receive && wanted > fits;
            shard.waited += accepted * if full { 65_536.0 / world.disk } else { 1.5 * world.sync };
            let left = most - accepted * world.cost[0];
            // Out: what the limit of attempts, the order of the key, the sink and the processors allow.
            shard.held = (shard.held - STEP).max(0.0);
            if shard.held <= 0.0 {
                shard.limit = (shard.limit + 1.0).min(world.concurrency);
            }
            let open = if shard.held > 0.0 { 0.0 } else { 1.0 };
            let serial = shard.hot.min(STEP / attempt) * open;
            let together = shard.limit - f64::from(u8::from(shard.hot >= 1.0));
            let free = shard.cold.min(together.max(0.0) / attempt * STEP) * open;
            let by_processors = ((left / world.cost[1]) / (serial + free).max(1e-9)).min(1.0);
            let mut sent = [serial * by_processors, free * by_processors];
            let takes = if world.throttles { (self.tokens / (sent[0] + sent[1]).max(1e-9)).min(1.0) } else { 1.0 };
            if takes < 1.0 {
                shard.throttled += 1.0;
                shard.attempt_seconds += attempt;
                (shard.held, shard.limit) = (1.0, (shard.limit / 2.0).floor().max(1.0));
            }
            sent.iter_mut().for_each(|sent| *sent *= takes);
            let gone = sent[0] + sent[1];
            self.tokens = (self.tokens - gone).max(0.0);
            (shard.hot, shard.cold) = (shard.hot - sent[0], shard.cold - sent[1]);
            (shard.delivered, shard.settled) = (shard.delivered + gone, shard.settled + gone);
            shard.cpu += (accepted * world.cost[0] + gone * world.cost[1]).min(most) + 0.01 * most;
            // An attempt that waits for a processor takes longer: all that may be under way is.
            let starved = by_processors < 1.0 && shard.cold >= 1.0;
            shard.in_flight = if starved { shard.limit } else { gone / STEP * attempt };
            shard.attempt_seconds += shard.in_flight * STEP;
            if shard.cold >= 1.0 && shard.held <= 0.0 && (starved || sent[1] >= together / attempt * STEP * 0.999) {
                shard.limited += STEP;
            }
            in_flight += if shard.cold >= 1.0 { shard.limit } else { shard.in_flight };
        }
        self.in_flight = in_flight;
    }

    /// What a shard says now.
    pub(super) fn report(&self, ordinal: u32) -> ShardReport {
        let shard = &self.shards[ordinal as usize];
        let whole = |number: f64| number.max(0.0) as u64;
        let micros = |seconds: f64| (seconds.max(0.0) * 1e6) as u64;
        let backlog = shard.cold + shard.hot;
        let window = backlog.min(WINDOW);
        let lane = if backlog > 0.0 { window * shard.hot / backlog } else { 0.0 };
        ShardReport {
            fleet: "orders".to_owned(),
            region: "eu-west".to_owned(),
            incarnation: "one".to_owned(),
            uptime_ms: (self.time * 1000.0).round() as u64,
            accepting: true,
            backlog_events: whole(backlog + shard.in_flight),
            backlog_bytes: whole(backlog * 1000.0),
            accepted_total: whole(shard.accepted),
            settled_total: whole(shard.settled),
            refused_total: whole(shard.refused),
            usage: Usage {
                cpu_us_total: micros(shard.cpu),
                cpu_limit_millis: whole(self.world.processors * 1000.0),
                disk_busy_us_total: micros(shard.busy),
                disk_wait_us_total: micros(shard.waited),
                receive_refused_total: whole(shard.refused),
            },
            sinks: vec![SinkReport {
                name: self.sink_name.clone(),
                backlog_events: whole(backlog + shard.in_flight),
                in_flight: whole(shard.in_flight),
                delivered_total: whole(shard.delivered),
                failed_attempts_total: whole(shard.throttled),
                concurrency_limit: whole(shard.limit),
                attempts_total: whole(shard.delivered + shard.throttled),
                attempt_us_total: micros(shard.attempt_seconds),
                throttled_total: whole(shard.throttled),
                limited_us_total: micros(shard.limited),
                blocked_events: whole(lane - 1.0),
                largest_lane_events: whole(lane),
                window_events: whole(window),
                ..SinkReport::default()
            }],
            ..ShardReport::default()
        }
    }
}
