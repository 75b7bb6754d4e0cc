//! Reads the sources of the workspace and fails on what the tables in `src/lib.rs` and `dispatcher/src/lib.rs` do not
//! allow: the architecture as a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room, and each file beside the rooms, may import from this crate.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("fleet", &["api"]),
    ("manifests", &[]),
    ("clock", &[]),
    ("metrics", &["fleet"]),
    ("tls", &["fleet"]),
    ("observe", &["api", "fleet", "manifests", "clock", "metrics", "tls"]),
    ("decide", &["fleet"]),
    ("keys", &["fleet"]),
    ("render", &["api", "fleet", "manifests"]),
    ("apply", &["api", "fleet::names", "manifests"]),
    ("report", &["api", "fleet", "manifests"]),
    ("push", &["fleet", "metrics", "tls"]),
    ("simulate", &["api", "fleet", "decide"]),
    ("record", &["fleet"]),
    ("error", &["keys", "report"]),
    ("lease", &["clock"]),
    ("leading", &["lease"]),
    ("admin", &["metrics", "observe"]),
    (
        "controller",
        &[
            "admin",
            "api",
            "apply",
            "clock",
            "decide",
            "error",
            "fleet",
            "keys",
            "manifests",
            "metrics",
            "observe",
            "push",
            "record",
            "render",
            "report",
        ],
    ),
    ("run", &["admin", "controller", "fleet", "leading", "lease", "metrics", "observe", "record"]),
    ("main", &[]),
    ("lib", &[]),
];

/// The same for the dispatcher: `serve`, `sink` and `load` meet over HTTP only.
const ALLOWED_IN_DISPATCHER: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("slots", &[]),
    ("claims", &["slots"]),
    ("random", &[]),
    ("output", &[]),
    ("server", &["random"]),
    ("serve", &["claims", "event", "server", "random", "output", "slots"]),
    ("sink", &["event", "server", "random", "output"]),
    ("load", &["random", "output"]),
    ("dead_letters_command", &["output"]),
    ("cli", &[]),
    ("main", &[]),
    ("lib", &[]),
];

/// Where sources are.
const FOLDERS: &[&str] = &[
    "src",
    "dispatcher/src",
    "dispatcher/contract/src",
    "e2e/src",
    "e2e/cluster/src",
    "e2e/images/src",
    "dispatcher/bench/src",
];

/// Words that must not occur in the code of a room, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("api", &["async ", "tokio", "Client", "tracing", "Timestamp::now"], "a leaf of types"),
    ("fleet", &["async ", "tokio", "kube::", "k8s_openapi", "tracing", "::now()", "HashMap"], "a leaf of plain data"),
    ("manifests", &["async ", "tokio", "Client"], "a leaf"),
    ("decide", &["async ", "tokio", "kube::", "k8s_openapi", "tracing", "::now()", "HashMap", "HashSet"], "pure"),
    ("simulate", &["async ", "tokio", "kube::", "tracing", "::now()", "HashMap", "HashSet"], "pure"),
    ("keys", &["async ", "kube::", "k8s_openapi", "tracing", "::now()", "HashMap"], "pure, given time and random keys"),
    ("render", &["async ", "tokio", "Client", "tracing", "::now()", "Result<", "HashMap"], "pure and infallible"),
    ("observe", &[".patch(", ".create(", ".replace(", ".delete(", "PatchParams", "PostParams"], "reads only"),
    ("apply", &["Timestamp::now", "Instant::now"], "clock.rs reads the time"),
    ("report", &["Timestamp::now", "Instant::now"], "clock.rs reads the time"),
    ("push", &["kube::", "k8s_openapi", "::now()"], "speaks to shards only"),
    ("controller", &["Timestamp::now", "PatchParams"], "knows the order and nothing else"),
];

/// Lines of a file, without its tests.
const MAX_LINES: usize = 300;
/// Lines of `reconcile`.
const MAX_RECONCILE: usize = 50;

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments, and without what follows `#[cfg(test)]`.
    code: String,
    first_line: String,
    test: bool,
}

/// The sources in one folder of the workspace.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    paths.iter().map(|path| read(&root, path)).collect()
}

fn all_sources() -> impl Iterator<Item = Source> {
    FOLDERS.iter().flat_map(|folder| sources(folder))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let relative = path.strip_prefix(root).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
    let name = relative.file_stem().unwrap().to_string_lossy().into_owned();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    // Declarations of test modules stand among the others; what they hold comes last in a file.
    let code = code.replace("#[cfg(test)]\nmod tests;", "").replace("#[cfg(test)]\nmod laws;", "");
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
    Source {
        path: relative.to_owned(),
        room: first.trim_end_matches(".rs").to_owned(),
        code,
        first_line: text.lines().next().unwrap_or_default().to_owned(),
        test: relative.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "laws")
            || ["tests", "laws", "fixtures", "tidy", "conformance", "memory"].contains(&name.as_str()),
    }
}

/// The paths after `crate::` in the code, two segments deep; of `crate::{a, b}`, each.
fn imports(code: &str) -> Vec<String> {
    let paths = code.match_indices("crate::").flat_map(|(at, _)| {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
            None => vec![rest],
        }
    });
    paths
        .map(|path| {
            let path: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
            path.split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
        })
        .collect()
}

#[test]
fn imports_are_found_alone_and_in_groups() {
    let code = "use crate::fleet::{A, B}; use crate::{output, random::next};";
    assert_eq!(imports(code), ["fleet", "output", "random::next"]);
}

fn check_imports(folder: &str, table: &[(&str, &[&str])]) {
    let allowed: BTreeMap<_, _> = table.iter().copied().collect();
    for source in sources(folder).iter().filter(|source| !source.test) {
        let rooms = allowed.get(source.room.as_str());
        let rooms =
            rooms.unwrap_or_else(|| panic!("{}: add the room {} to the table", source.path.display(), source.room));
        for import in imports(&source.code) {
            let first = import.split("::").next().unwrap();
            let fine = first == source.room || rooms.iter().any(|room| *room == first || *room == import);
            assert!(fine, "{}: {} must not import crate::{import}", source.path.display(), source.room);
        }
    }
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    check_imports("src", ALLOWED);
}

#[test]
fn the_dispatchers_parts_do_not_know_of_each_other() {
    check_imports("dispatcher/src", ALLOWED_IN_DISPATCHER);
}

#[test]
fn rooms_keep_to_their_power() {
    for source in sources("src").iter().filter(|source| !source.test) {
        for (room, words, why) in FORBIDDEN.iter().filter(|(room, ..)| *room == source.room) {
            for word in *words {
                assert!(
                    !source.code.contains(word),
                    "{}: {word:?} has no place in {room}, which is {why}",
                    source.path.display()
                );
            }
        }
    }
}

#[test]
fn the_clock_is_read_in_one_place() {
    for source in sources("src").iter().filter(|source| !source.test && source.room != "clock") {
        assert!(!source.code.contains("Timestamp::now"), "{}: use clock.rs", source.path.display());
        assert!(!source.code.contains("SystemTime"), "{}: use clock.rs", source.path.display());
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in all_sources() {
        assert!(source.first_line.starts_with("//! "), "{}: begin with a //! line", source.path.display());
    }
}

#[test]
fn no_file_grows_beyond_one_concept() {
    for source in all_sources().filter(|source| !source.test) {
        let lines = source.code.lines().count();
        assert!(lines <= MAX_LINES, "{}: {lines} lines; split it", source.path.display());
    }
}

#[test]
fn reconcile_reads_as_a_table_of_contents() {
    let sources = sources("src");
    let controller = sources.iter().find(|source| source.room == "controller").unwrap();
    let body = controller.code.split("async fn reconcile(").nth(1).unwrap();
    let lines = body.split("\n}").next().unwrap().lines().count();
    assert!(lines <= MAX_RECONCILE, "reconcile has {lines} lines");
}
