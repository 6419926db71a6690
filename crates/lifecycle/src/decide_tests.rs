//! Rounding, filters, conflicts and legality of what is decided.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::rules::{RequestedConfiguration, TransitionMinimum};

fn rules(json: &str) -> RuleSet {
    let mut requested: RequestedConfiguration =
        serde_json::from_str(&format!("{{\"Rules\":{json}}}"))
            .unwrap_or_else(|error| panic!("{error} in {json}"));
    requested.name_rules(&strongroom_environment::SeededEntropy::new(0));
    requested
        .validate()
        .unwrap_or_else(|error| panic!("{error} in {json}"))
}

fn moment(text: &str) -> Timestamp {
    crate::rules::RuleDate::parse(text)
        .unwrap_or_else(|| panic!("{text:?} is not a date"))
        .0
}

fn facts(created: &str) -> VersionFacts<'static> {
    VersionFacts {
        key: "a/b",
        tags: &[],
        len_bytes: 1 << 20,
        class: StorageClass::Standard,
        created: moment(created),
        standing: Standing::Current(OnExpiry::Gone),
    }
}

fn actions(rules: &RuleSet, facts: &VersionFacts<'_>, now: &str) -> Vec<Action> {
    decide(rules, facts, moment(now))
        .into_iter()
        .map(|decision| decision.action)
        .collect()
}

#[test]
fn days_are_rounded_up_to_the_next_midnight() {
    // The two examples of the reference: three days from 15 January 10:30, and one day from
    // 2 January 11:30.
    assert_eq!(
        midnight_after(moment("2014-01-15T10:30:00Z"), 3),
        moment("2014-01-19")
    );
    assert_eq!(
        midnight_after(moment("2024-01-02T11:30:00Z"), 1),
        moment("2024-01-04")
    );
    assert_eq!(
        midnight_after(moment("2026-01-01"), 0),
        moment("2026-01-02")
    );
    assert_eq!(
        midnight_after(moment("2026-01-01") - Duration::from_micros(1), 0),
        moment("2026-01-01")
    );
}

#[test]
fn nothing_is_due_a_moment_before_midnight() {
    let rules = rules(r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"Days":3}}]"#);
    let facts = facts("2014-01-15T10:30:00Z");
    let due = moment("2014-01-19");
    assert!(decide(&rules, &facts, due - Duration::from_micros(1)).is_empty());
    let decisions = decide(&rules, &facts, due);
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].due, due);
    assert_eq!(decisions[0].rule.as_str(), "r");
    assert_eq!(next_due(&rules, &facts), Some(due));
}

#[test]
fn a_date_counts_for_what_is_there_and_for_what_comes_later() {
    let rules =
        rules(r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"Date":"2026-06-01"}}]"#);
    assert_eq!(
        next_due(&rules, &facts("2026-01-01")),
        Some(moment("2026-06-01"))
    );
    assert_eq!(
        next_due(&rules, &facts("2026-05-31T23:00:00Z")),
        Some(moment("2026-06-01"))
    );
    assert_eq!(
        next_due(&rules, &facts("2026-07-01T10:00:00Z")),
        Some(moment("2026-07-02"))
    );
}

#[test]
fn a_disabled_rule_does_nothing() {
    let rules = rules(r#"[{"ID":"r","Status":"Disabled","Filter":{},"Expiration":{"Days":1}}]"#);
    assert_eq!(next_due(&rules, &facts("2026-01-01")), None);
    assert!(actions(&rules, &facts("2026-01-01"), "2036-01-01").is_empty());
}

#[test]
fn permanent_deletion_goes_before_a_transition_and_a_transition_before_a_marker() {
    let rules = rules(
        r#"[{"ID":"move","Status":"Enabled","Filter":{},"Transitions":[{"Days":10,"StorageClass":"GLACIER"}]},
            {"ID":"end","Status":"Enabled","Filter":{},"Expiration":{"Days":10}}]"#,
    );
    let gone = facts("2026-01-01");
    assert_eq!(actions(&rules, &gone, "2026-02-01"), [Action::Expire]);
    let versioned = VersionFacts {
        standing: Standing::Current(OnExpiry::Noncurrent),
        ..gone
    };
    assert_eq!(
        actions(&rules, &versioned, "2026-02-01"),
        [Action::Transition(StorageClass::Glacier), Action::Expire]
    );
}

#[test]
fn the_earlier_expiration_and_the_colder_class_win() {
    let rules = rules(
        r#"[{"ID":"late","Status":"Enabled","Filter":{},"Expiration":{"Days":20}},
            {"ID":"soon","Status":"Enabled","Filter":{"Prefix":"a/"},"Expiration":{"Days":10}}]"#,
    );
    let decisions = decide(&rules, &facts("2026-01-01"), moment("2027-01-01"));
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].rule.as_str(), "soon");

    let rules = self::rules(
        r#"[{"ID":"cold","Status":"Enabled","Filter":{},"Transitions":[{"Days":20,"StorageClass":"DEEP_ARCHIVE"}]},
            {"ID":"cool","Status":"Enabled","Filter":{},"Transitions":[{"Days":10,"StorageClass":"GLACIER"}]}]"#,
    );
    let facts = facts("2026-01-01");
    assert_eq!(
        actions(&rules, &facts, "2026-01-12"),
        [Action::Transition(StorageClass::Glacier)]
    );
    assert_eq!(
        actions(&rules, &facts, "2026-01-22"),
        [Action::Transition(StorageClass::DeepArchive)]
    );
}

#[test]
fn small_objects_stay_unless_the_filter_speaks_of_sizes() {
    let glacier = r#"[{"ID":"r","Status":"Enabled","Filter":{},"Transitions":[{"Days":1,"StorageClass":"GLACIER"}]}]"#;
    let small = |len_bytes| VersionFacts {
        len_bytes,
        ..facts("2026-01-01")
    };
    let moved =
        |rules: &RuleSet, len_bytes| !actions(rules, &small(len_bytes), "2027-01-01").is_empty();
    let default = rules(glacier);
    assert!(!moved(&default, TransitionMinimum::LEN_BYTES_MIN - 1));
    assert!(moved(&default, TransitionMinimum::LEN_BYTES_MIN));

    let with_size =
        rules(&glacier.replace("\"Filter\":{}", "\"Filter\":{\"ObjectSizeGreaterThan\":0}"));
    assert!(moved(&with_size, 1));
    assert!(!moved(&with_size, 0));

    let varying = |class: &str| {
        let mut requested: RequestedConfiguration = serde_json::from_str(&format!(
            "{{\"Rules\":{},\"TransitionDefaultMinimumObjectSize\":\"varies_by_storage_class\"}}",
            glacier.replace("GLACIER", class)
        ))
        .expect("it is legal");
        requested.name_rules(&strongroom_environment::SeededEntropy::new(0));
        requested.validate().expect("it is valid")
    };
    assert!(moved(&varying("GLACIER"), 1));
    assert!(moved(&varying("DEEP_ARCHIVE"), 0));
    for class in [
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER_IR",
    ] {
        assert!(!moved(&varying(class), 1), "{class}");
    }
}

#[test]
fn noncurrent_versions_age_from_when_they_were_followed() {
    let rules = rules(
        r#"[{"ID":"r","Status":"Enabled","Filter":{},"NoncurrentVersionExpiration":{"NoncurrentDays":1,"NewerNoncurrentVersions":2}}]"#,
    );
    let noncurrent = |newer_noncurrent| VersionFacts {
        standing: Standing::Noncurrent {
            since: moment("2024-01-02T11:30:00Z"),
            newer_noncurrent,
        },
        ..facts("2020-01-01")
    };
    assert!(actions(&rules, &noncurrent(1), "2030-01-01").is_empty());
    assert!(actions(&rules, &noncurrent(2), "2024-01-03T23:59:59Z").is_empty());
    assert_eq!(
        actions(&rules, &noncurrent(2), "2024-01-04"),
        [Action::DeleteVersion]
    );
    assert!(actions(&rules, &facts("2020-01-01"), "2030-01-01").is_empty());
}

#[test]
fn a_lone_delete_marker_goes_and_another_stays() {
    let lone = |json| {
        let rules = rules(json);
        move |is_lone, now| {
            let facts = VersionFacts {
                len_bytes: 0,
                standing: Standing::DeleteMarker { is_lone },
                ..facts("2026-01-01T12:00:00Z")
            };
            actions(&rules, &facts, now)
        }
    };
    let marker = lone(
        r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"ExpiredObjectDeleteMarker":true}}]"#,
    );
    assert!(marker(true, "2026-01-01T23:00:00Z").is_empty());
    assert_eq!(marker(true, "2026-01-02"), [Action::DeleteVersion]);
    assert!(marker(false, "2036-01-02").is_empty());
    let aged = lone(r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"Days":5}}]"#);
    assert!(aged(true, "2026-01-06").is_empty());
    assert_eq!(aged(true, "2026-01-07"), [Action::DeleteVersion]);
}

#[test]
fn the_notice_names_the_earliest_end_and_its_rule() {
    let rules = rules(
        r#"[{"ID":"späte Regel","Status":"Enabled","Filter":{},"Expiration":{"Days":9}},
            {"ID":"a rule/1","Status":"Enabled","Filter":{"Prefix":"a/"},"Expiration":{"Days":3}},
            {"ID":"off","Status":"Disabled","Filter":{},"Expiration":{"Days":1}}]"#,
    );
    let notice = |key| {
        expiration_notice(&rules, key, &[], 5, moment("2012-12-17T10:00:00Z"))
            .map(|notice| notice.header_value())
    };
    assert_eq!(
        notice("a/b").as_deref(),
        Some(r#"expiry-date="Fri, 21 Dec 2012 00:00:00 GMT", rule-id="a%20rule%2F1""#)
    );
    assert_eq!(
        notice("c").as_deref(),
        Some(r#"expiry-date="Thu, 27 Dec 2012 00:00:00 GMT", rule-id="sp%C3%A4te%20Regel""#)
    );
    assert_eq!(
        expiration_notice(&RuleSet::default(), "a/b", &[], 5, moment("2012-12-17")),
        None
    );
}

#[test]
fn uploads_are_given_up_by_the_earliest_rule() {
    let rules = rules(
        r#"[{"ID":"a","Status":"Enabled","Filter":{},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":7}},
            {"ID":"b","Status":"Enabled","Filter":{"Prefix":"a/"},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":1}}]"#,
    );
    let due = |key| {
        upload_abort_due(&rules, key, moment("2026-01-01T12:00:00Z"))
            .map(|(due, rule)| (due, rule.as_str().to_owned()))
    };
    assert_eq!(due("a/b"), Some((moment("2026-01-03"), "b".to_owned())));
    assert_eq!(due("c"), Some((moment("2026-01-09"), "a".to_owned())));
}

fn any_class() -> impl Strategy<Value = StorageClass> {
    proptest::sample::select(StorageClass::ALL.to_vec())
}

fn any_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Current(OnExpiry::Gone)),
        Just(Standing::Current(OnExpiry::Noncurrent)),
        any::<bool>().prop_map(|is_lone| Standing::DeleteMarker { is_lone }),
        (0..400_i64, 0..4_u32).prop_map(|(day, newer_noncurrent)| Standing::Noncurrent {
            since: Timestamp::start_of_day(day),
            newer_noncurrent
        }),
    ]
}

/// Rules as random as the checks allow; those that are refused are left out.
fn any_rules() -> impl Strategy<Value = RuleSet> {
    let targets = proptest::sample::select(vec![
        "STANDARD_IA",
        "INTELLIGENT_TIERING",
        "ONEZONE_IA",
        "GLACIER_IR",
        "GLACIER",
        "DEEP_ARCHIVE",
    ]);
    let rule = (
        any::<bool>(),
        proptest::sample::select(vec![
            "{}",
            r#"{"Prefix":"a/"}"#,
            r#"{"Prefix":"z"}"#,
            r#"{"ObjectSizeGreaterThan":10}"#,
        ]),
        targets,
        0..300_i32,
        proptest::option::of(1..400_i32),
        proptest::option::of(1..400_i32),
    );
    proptest::collection::vec(rule, 1..5).prop_filter_map("the checks refuse it", |rules| {
        let rules: Vec<String> = rules
            .into_iter()
            .enumerate()
            .map(|(number, (enabled, filter, class, days, expiration, noncurrent))| {
                let status = if enabled { "Enabled" } else { "Disabled" };
                let expiration = expiration
                    .map_or(String::new(), |days| format!(r#","Expiration":{{"Days":{days}}}"#));
                let noncurrent = noncurrent.map_or(String::new(), |days| {
                    format!(r#","NoncurrentVersionTransitions":[{{"NoncurrentDays":{days},"StorageClass":"{class}"}}]"#)
                });
                format!(
                    r#"{{"ID":"{number}","Status":"{status}","Filter":{filter},"Transitions":[{{"Days":{days},"StorageClass":"{class}"}}]{expiration}{noncurrent}}}"#
                )
            })
            .collect();
        serde_json::from_str::<RequestedConfiguration>(&format!("{{\"Rules\":[{}]}}", rules.join(",")))
            .ok()?
            .validate()
            .ok()
    })
}

proptest! {
    #[test]
    fn a_rounded_moment_is_the_first_midnight_past_the_days(micros in -10_i64.pow(17)..10_i64.pow(17), days in 0..40_000_u32) {
        let base = Timestamp::from_micros(micros);
        let due = midnight_after(base, days);
        let past = base + Duration::from_secs(u64::from(days) * 86_400);
        prop_assert_eq!(due, Timestamp::start_of_day(due.day()));
        prop_assert!(due > past);
        prop_assert!(due.since(past) <= Duration::from_secs(86_400));
    }

    #[test]
    fn no_decision_is_ever_an_illegal_move(
        rules in any_rules(),
        class in any_class(),
        standing in any_standing(),
        len_bytes in 0_u64..1_000_000,
        now in 0_i64..900,
    ) {
        let facts = VersionFacts {
            key: "a/b",
            tags: &[],
            len_bytes,
            class,
            created: Timestamp::start_of_day(1),
            standing,
        };
        let now = Timestamp::start_of_day(now);
        let decisions = decide(&rules, &facts, now);
        prop_assert!(decisions.len() <= 2);
        for decision in &decisions {
            prop_assert!(decision.due <= now);
            match decision.action {
                Action::Transition(target) => {
                    prop_assert!(class.may_go_to(target));
                    prop_assert!(!matches!(standing, Standing::DeleteMarker { .. }), "a marker has no data to move");
                }
                Action::Expire => prop_assert!(matches!(standing, Standing::Current(_))),
                Action::DeleteVersion => prop_assert!(!matches!(standing, Standing::Current(_))),
            }
        }
        // The moment foretold is the first at which there is something to do.
        let next = next_due(&rules, &facts);
        prop_assert_eq!(!decisions.is_empty(), next.is_some_and(|next| next <= now));
        if let Some(next) = next {
            prop_assert!(decide(&rules, &facts, next - Duration::from_micros(1)).is_empty());
            prop_assert!(!decide(&rules, &facts, next).is_empty());
        }
    }

    #[test]
    fn following_the_decisions_comes_to_an_end(rules in any_rules(), class in any_class()) {
        let now = Timestamp::start_of_day(10_000);
        let mut facts = VersionFacts {
            key: "a/b",
            tags: &[],
            len_bytes: 1 << 30,
            class,
            created: Timestamp::start_of_day(1),
            standing: Standing::Current(OnExpiry::Gone),
        };
        let mut moves = 0;
        while let Some(Action::Transition(target)) =
            decide(&rules, &facts, now).first().map(|decision| decision.action)
        {
            facts.class = target;
            moves += 1;
            prop_assert!(moves <= 7);
        }
    }
}
