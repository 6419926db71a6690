//! The simulator as its user sees it: scenarios in, reports out.

use strongroom_lifecycle::simulate::{Scenario, ScenarioError, SimulationReport, simulate};

const EXAMPLE: &str = include_str!("../../../docs/examples/hospital-archive.toml");

/// A hundred objects put on the first day, archived after 30 days and ended after a year.
const SMALL: &str = r#"
name = "small & <simple>"
start = "2026-01-01"
years = 2

[[population]]
name = "all"
prefix = "a/"
objects = 100
created = { from_day = 0, to_day = 1 }
size = { kind = "fixed", len_bytes = 1_000_000 }
keys = { kind = "spread", count = 1 }

[[rule]]
ID = "r"
Status = "Enabled"
Filter = { Prefix = "a/" }
Transitions = [{ Days = 30, StorageClass = "GLACIER" }]
Expiration = { Days = 365 }

[[demand]]
population = "all"
restores_per_year = 20.0
retrieval_tier = "Standard"
days = 2
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn run(text: &str, seed: u64) -> SimulationReport {
    simulate(&scenario(text), seed).unwrap_or_else(|error| panic!("{error}"))
}

fn json(report: &SimulationReport) -> String {
    serde_json::to_string(report).expect("a report is writable")
}

fn held(report: &SimulationReport, day_number: i64, class: &str) -> u64 {
    report
        .occupancy
        .iter()
        .find(|sample| sample.day_number == day_number)
        .unwrap_or_else(|| panic!("day {day_number} was not noted"))
        .classes
        .iter()
        .find(|held| held.class == class)
        .map_or(0, |held| held.objects)
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_seed_another() {
    let first = json(&run(SMALL, 7));
    assert_eq!(first, json(&run(SMALL, 7)));
    assert_ne!(first, json(&run(SMALL, 8)));
}

#[test]
fn objects_move_on_the_days_that_the_rules_name() {
    let report = run(SMALL, 1);
    // Put on day 0, due at the midnight after 30 days, and after 365.
    assert_eq!(held(&report, 1, "STANDARD"), 100);
    assert_eq!(held(&report, 30, "STANDARD"), 100);
    assert_eq!(held(&report, 31, "STANDARD"), 0);
    assert_eq!(held(&report, 31, "GLACIER"), 100);
    assert_eq!(held(&report, 365, "GLACIER"), 100);
    assert_eq!(held(&report, 366, "GLACIER"), 0);
    let moves: Vec<_> = report
        .moves
        .iter()
        .map(|moved| (moved.from, moved.to, moved.objects))
        .collect();
    assert_eq!(
        moves,
        [("STANDARD", "GLACIER", 100), ("GLACIER", "deleted", 100)]
    );
    let [key] = &report.keys[..] else {
        panic!("there is one key");
    };
    assert_eq!(key.first_day, "2026-01-01");
    assert_eq!(key.last_day.as_deref(), Some("2027-01-01"));
    assert_eq!((key.objects, key.objects_at_end), (100, 0));
}

#[test]
fn restores_take_the_time_of_their_tier_and_their_copies_end() {
    let report = run(SMALL, 3);
    let [waits] = &report.restores[..] else {
        panic!("one class is asked for in one tier");
    };
    assert_eq!((waits.class, waits.tier), ("GLACIER", "Standard"));
    // About 100 objects for 335 days at 20 a year.
    assert!((1_000..2_500).contains(&waits.restored), "{waits:?}");
    assert!(waits.p50_seconds >= 3 * 3_600);
    assert!(waits.p50_seconds <= waits.p95_seconds);
    assert!(waits.p95_seconds <= waits.max_seconds);
    assert!(waits.max_seconds <= 5 * 3_600);
    assert!(waits.renewed > 0, "some asked while there was a copy");
    assert!(waits.in_progress > 0, "some asked while a restore ran");
    let last = report.occupancy.last().expect("the end is noted");
    assert_eq!(last.restored_copies_bytes, 0);
    assert!(
        report
            .occupancy
            .iter()
            .any(|sample| sample.restored_copies_bytes > 0)
    );
}

#[test]
fn few_drives_make_restores_wait() {
    let slow = SMALL.to_owned()
        + "[tier]\ndrives = { count = 1, mount_seconds = 14_400, bytes_per_second = 1_000_000 }\n";
    let waits = |text: &str| run(text, 3).restores[0].clone();
    assert!(waits(&slow).p95_seconds > 2 * waits(SMALL).p95_seconds);
}

#[test]
fn expedited_room_and_offers_are_heeded() {
    let expedited = SMALL.replace("\"Standard\"\ndays", "\"Expedited\"\ndays")
        + "[tier]\nexpedited_at_once_max = 0\n";
    let waits = run(&expedited, 3).restores[0].clone();
    assert_eq!(waits.restored, 0);
    assert!(waits.expedited_unavailable > 0);
    let deep = SMALL
        .replace("\"Standard\"\ndays", "\"Expedited\"\ndays")
        .replace("GLACIER", "DEEP_ARCHIVE");
    let waits = run(&deep, 3).restores[0].clone();
    assert_eq!(waits.restored, 0);
    assert!(waits.not_offered > 0);
}

#[test]
fn a_tier_that_is_too_small_is_reported() {
    let with_capacity = |bytes: u64| {
        run(&format!("{SMALL}\n[tier]\ncapacity_bytes = {bytes}\n"), 1)
            .capacity
            .expect("the scenario states one")
    };
    let enough = with_capacity(100_000_000);
    assert_eq!((enough.most_bytes, enough.exceeded_on), (100_000_000, None));
    let small = with_capacity(99_999_999);
    assert_eq!(small.exceeded_on.as_deref(), Some("2026-02-01"));
}

#[test]
fn versioned_objects_stay_behind_their_markers() {
    let versioned = SMALL.replace("years = 2", "years = 2\nversioning = \"Enabled\"");
    let report = run(&versioned, 1);
    assert_eq!(held(&report, 400, "GLACIER"), 100);
    let key = &report.keys[0];
    assert_eq!((key.objects_at_end, key.last_day.as_deref()), (100, None));
    let ended = versioned.replace(
        "Expiration = { Days = 365 }",
        "Expiration = { Days = 365 }\nNoncurrentVersionExpiration = { NoncurrentDays = 10 }",
    );
    let report = run(&ended, 1);
    assert_eq!(held(&report, 376, "GLACIER"), 100);
    assert_eq!(held(&report, 377, "GLACIER"), 0);
}

#[test]
fn the_example_runs_and_its_report_has_all_three_forms() {
    // The example in full takes seconds in release; here a hundredth of it.
    let fewer = EXAMPLE
        .replace("700_000", "7_000")
        .replace("290_000", "2_900")
        .replace("objects = 3_650", "objects = 37");
    assert_ne!(fewer, EXAMPLE);
    let report = run(&fewer, 42);
    let table = report.to_table();
    for words in [
        "Hospital archive, ten years (seed 42)",
        "What lies where",
        "How long restores took",
        "Keys still needed",
        "DEEP_ARCHIVE",
        "images/11",
        "Cold tier: at most",
    ] {
        assert!(table.contains(words), "{words:?} is not in:\n{table}");
    }
    let svg = report.to_svg();
    assert_is_well_formed(&svg);
    for words in ["GLACIER", "2026-01-01", "p95", "images/1"] {
        assert!(svg.contains(words), "{words:?} is not in the picture");
    }
    let read: serde_json::Value =
        serde_json::from_str(&json(&report)).expect("the JSON form is JSON");
    assert_eq!(read["seed"], 42);
    assert!(
        read["occupancy"]
            .as_array()
            .is_some_and(|all| all.len() > 100)
    );
}

#[test]
fn names_are_escaped_in_the_picture() {
    let svg = run(SMALL, 1).to_svg();
    assert_is_well_formed(&svg);
    assert!(svg.contains("small &amp; &lt;simple&gt;"));
}

/// Every tag is closed, in the right order, and no coordinate is missing.
fn assert_is_well_formed(svg: &str) {
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("every tag ends");
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .expect("every tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn scenarios_that_make_no_sense_are_refused_with_the_member_named() {
    let refused = |from: &str, to: &str| {
        assert!(SMALL.contains(from), "{from:?} is not in the scenario");
        Scenario::from_toml(&SMALL.replace(from, to))
            .expect_err("it makes no sense")
            .to_string()
    };
    for (from, to, words) in [
        ("years = 2", "years = 0", "years"),
        ("years = 2", "years = 201", "years"),
        ("years = 2", "yeers = 2", "yeers"),
        ("\"2026-01-01\"", "\"2026-01-01T12:00:00Z\"", "start"),
        ("\"2026-01-01\"", "\"yesterday\"", "yesterday"),
        ("objects = 100", "objects = 1_000_000_000", "100000000"),
        ("objects = 100", "objects = -1", "objects"),
        ("to_day = 1", "to_day = 0", "created"),
        ("count = 1", "count = 0", "keys"),
        (
            "kind = \"fixed\", len_bytes = 1_000_000",
            "kind = \"uniform\", min_bytes = 2, max_bytes = 1",
            "size",
        ),
        (
            "kind = \"fixed\", len_bytes = 1_000_000",
            "kind = \"log-normal\", median_bytes = 1, sigma = nan, max_bytes = 1",
            "sigma",
        ),
        (
            "population = \"all\"",
            "population = \"none\"",
            "no such population",
        ),
        ("\"Standard\"", "\"Fast\"", "retrieval_tier"),
        (
            "restores_per_year = 20.0",
            "restores_per_year = -1.0",
            "rate",
        ),
        ("days = 2", "days = 0", "days"),
        ("Days = 365", "Days = 0", "positive integer"),
        ("\"GLACIER\"", "\"STANDARD\"", "STANDARD"),
        ("Status = \"Enabled\"", "Status = \"On\"", "Status"),
    ] {
        let message = refused(from, to);
        assert!(message.contains(words), "{to:?}: {message}");
    }
    let no_drive = format!(
        "{SMALL}\n[tier]\ndrives = {{ count = 0, mount_seconds = 1, bytes_per_second = 1 }}\n"
    );
    assert!(matches!(
        Scenario::from_toml(&no_drive),
        Err(ScenarioError::Value { .. })
    ));
}
