//! Every refusal, and what the accepted forms mean.

use strongroom_environment::SeededEntropy;

use super::*;
use crate::rules::{RequestedAbort, RequestedAnd, RequestedNoncurrentExpiration};

fn json(rules: &str) -> RequestedConfiguration {
    serde_json::from_str(&format!("{{\"Rules\":{rules}}}"))
        .unwrap_or_else(|error| panic!("{error} in {rules}"))
}

fn with(members: &str) -> Result<RuleSet, RuleError> {
    json(&format!(
        r#"[{{"ID":"r","Status":"Enabled","Filter":{{"Prefix":"a/"}},{members}}}]"#
    ))
    .validate()
}

fn with_filter(filter: &str) -> Result<RuleSet, RuleError> {
    json(&format!(
        r#"[{{"ID":"r","Status":"Enabled","Filter":{filter},"Expiration":{{"Days":1}}}}]"#
    ))
    .validate()
}

#[track_caller]
fn is_malformed(result: Result<RuleSet, RuleError>) {
    assert!(
        matches!(result, Err(RuleError::MalformedXml { .. })),
        "{result:?}"
    );
}

#[track_caller]
fn is_argument(result: Result<RuleSet, RuleError>, words: &str) {
    match result {
        Err(RuleError::InvalidArgument { message }) => assert_eq!(message, words),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_request(result: Result<RuleSet, RuleError>, words: &str) {
    match result {
        Err(RuleError::InvalidRequest { message }) => assert_eq!(message, words),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_json_of_the_aws_cli_is_read_and_written_back_unchanged() {
    let text = r#"{"Rules":[{"ID":"all","Status":"Enabled","Filter":{"And":{"Prefix":"p/","Tags":[{"Key":"k","Value":"v"}],"ObjectSizeGreaterThan":1,"ObjectSizeLessThan":9}},"Transitions":[{"Days":30,"StorageClass":"GLACIER"}],"Expiration":{"Days":400},"NoncurrentVersionTransitions":[{"NoncurrentDays":3,"NewerNoncurrentVersions":2,"StorageClass":"DEEP_ARCHIVE"}],"NoncurrentVersionExpiration":{"NoncurrentDays":9}},{"ID":"date","Status":"Disabled","Filter":{},"Expiration":{"Date":"2027-01-01T00:00:00.000000Z"}}],"TransitionDefaultMinimumObjectSize":"varies_by_storage_class"}"#;
    let requested: RequestedConfiguration = serde_json::from_str(text).expect("it is legal");
    assert_eq!(
        serde_json::to_string(&requested).expect("it is writable"),
        text
    );
    let rules = requested.validate().expect("it is valid");
    assert_eq!(rules.minimum(), TransitionMinimum::VariesByStorageClass);
    let [all, date] = rules.rules() else {
        panic!("there are two rules");
    };
    assert_eq!(all.id.as_str(), "all");
    assert_eq!(
        all.filter,
        Filter {
            prefix: "p/".to_owned(),
            tags: vec![Tag {
                key: "k".to_owned(),
                value: "v".to_owned()
            }],
            larger_than_bytes: Some(1),
            smaller_than_bytes: Some(9),
        }
    );
    assert_eq!(
        all.transitions,
        [Transition {
            when: When::AfterDays(30),
            class: StorageClass::Glacier
        }]
    );
    assert_eq!(
        all.noncurrent_transitions,
        [NoncurrentTransition {
            after_days: 3,
            newer_kept: 2,
            class: StorageClass::DeepArchive
        }]
    );
    assert_eq!(
        all.noncurrent_expiration,
        Some(NoncurrentExpiration {
            after_days: 9,
            newer_kept: 0
        })
    );
    assert!(!date.enabled);
    assert_eq!(
        date.expiration,
        Some(Expiration::When(When::OnDate(Timestamp::from_seconds(
            1_798_761_600
        ))))
    );
    assert_eq!(rules.enabled().count(), 1);
}

#[test]
fn an_unknown_member_is_not_passed_over() {
    let text = r#"{"Rules":[{"Status":"Enabled","Replication":{}}]}"#;
    assert!(serde_json::from_str::<RequestedConfiguration>(text).is_err());
}

#[test]
fn no_rule_and_too_many_rules_are_refused() {
    is_malformed(RequestedConfiguration::default().validate());
    let rule = json(r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"Days":1}}]"#)
        .rules
        .remove(0);
    let many = |count: usize| {
        let rules = (0..count)
            .map(|number| RequestedRule {
                id: Some(number.to_string()),
                ..rule.clone()
            })
            .collect();
        RequestedConfiguration {
            rules,
            ..RequestedConfiguration::default()
        }
        .validate()
    };
    assert!(many(1_000).is_ok());
    is_request(
        many(1_001),
        "The number of lifecycle rules must not exceed the allowed limit of 1000 rules",
    );
}

#[test]
fn names_are_checked_and_made_where_there_are_none() {
    let named = |one: &str, other: &str| {
        json(&format!(
            r#"[{{"ID":"{one}","Status":"Enabled","Filter":{{}},"Expiration":{{"Days":1}}}},
                {{"ID":"{other}","Status":"Enabled","Filter":{{}},"Expiration":{{"Days":1}}}}]"#
        ))
    };
    is_argument(
        named("a", "a").validate(),
        "Rule ID must be unique. Found same ID for more than one rule",
    );
    assert!(named("a", &"ü".repeat(255)).validate().is_ok());
    is_argument(
        named("a", &"ü".repeat(256)).validate(),
        "ID length should not exceed allowed limit of 255",
    );
    is_malformed(named("a", "").validate());
    let mut unnamed = named("a", "");
    unnamed.name_rules(&SeededEntropy::new(1));
    let rules = unnamed.validate().expect("every rule has a name");
    assert_eq!(rules.rules()[0].id.as_str(), "a");
    assert_eq!(rules.rules()[1].id.as_str().len(), 32);
}

#[test]
fn the_form_of_a_rule_is_checked() {
    let expiration = r#""Expiration":{"Days":1}"#;
    for rule in [
        format!(r#"{{"ID":"r","Status":"enabled","Filter":{{}},{expiration}}}"#),
        format!(r#"{{"ID":"r","Filter":{{}},{expiration}}}"#),
        format!(r#"{{"ID":"r","Status":"Enabled",{expiration}}}"#),
        format!(r#"{{"ID":"r","Status":"Enabled","Prefix":"","Filter":{{}},{expiration}}}"#),
    ] {
        is_malformed(json(&format!("[{rule}]")).validate());
    }
    let old = json(&format!(
        r#"[{{"ID":"r","Status":"Enabled","Prefix":"old/",{expiration}}}]"#
    ));
    let rules = old
        .validate()
        .expect("the old place of the prefix is legal");
    assert_eq!(rules.rules()[0].filter.prefix, "old/");
    is_request(
        json(r#"[{"ID":"r","Status":"Enabled","Filter":{}}]"#).validate(),
        "At least one action needs to be specified in a rule",
    );
}

#[test]
fn filters_have_one_condition_or_an_and() {
    assert!(with_filter("{}").is_ok());
    assert!(with_filter(r#"{"Tag":{"Key":"k","Value":""}}"#).is_ok());
    assert!(with_filter(r#"{"ObjectSizeGreaterThan":0}"#).is_ok());
    is_malformed(with_filter(r#"{"Prefix":"a","ObjectSizeGreaterThan":1}"#));
    is_malformed(with_filter(
        r#"{"Prefix":"a","And":{"Prefix":"a","ObjectSizeLessThan":1}}"#,
    ));
    is_malformed(with_filter(r#"{"And":{"Prefix":"a"}}"#));
    is_malformed(with_filter(r#"{"And":{}}"#));
    assert!(with_filter(r#"{"And":{"ObjectSizeGreaterThan":1,"ObjectSizeLessThan":2}}"#).is_ok());
    is_request(
        with_filter(r#"{"And":{"ObjectSizeGreaterThan":2,"ObjectSizeLessThan":2}}"#),
        "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
    );
    is_argument(
        with_filter(r#"{"ObjectSizeGreaterThan":-1}"#),
        "'ObjectSizeGreaterThan' must be at least 0",
    );
    is_argument(
        with_filter(r#"{"ObjectSizeLessThan":0}"#),
        "'ObjectSizeLessThan' must be at least 1",
    );
    is_request(
        with_filter(r#"{"And":{"Tags":[{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}]}}"#),
        "Duplicate Tag Keys are not allowed.",
    );
    for key in [String::new(), "k".repeat(129), "aws:k".to_owned()] {
        is_request(
            with_filter(&format!(r#"{{"Tag":{{"Key":"{key}","Value":""}}}}"#)),
            "The TagKey you have provided is invalid",
        );
    }
    is_request(
        with_filter(&format!(
            r#"{{"Tag":{{"Key":"k","Value":"{}"}}}}"#,
            "v".repeat(257)
        )),
        "The TagValue you have provided is invalid",
    );
}

#[test]
fn transitions_name_a_moment_and_a_colder_class() {
    let transition = |members: &str| with(&format!(r#""Transitions":[{{{members}}}]"#));
    assert!(transition(r#""Days":0,"StorageClass":"GLACIER""#).is_ok());
    assert!(transition(r#""Date":"2027-01-01","StorageClass":"STANDARD_IA""#).is_ok());
    is_malformed(transition(r#""Days":1"#));
    is_malformed(transition(r#""StorageClass":"GLACIER""#));
    is_malformed(transition(
        r#""Days":1,"Date":"2027-01-01","StorageClass":"GLACIER""#,
    ));
    for class in ["STANDARD", "REDUCED_REDUNDANCY", "glacier", "SNOW", ""] {
        is_malformed(transition(&format!(r#""Days":1,"StorageClass":"{class}""#)));
    }
    is_argument(
        transition(r#""Days":-1,"StorageClass":"GLACIER""#),
        "'Days' in Transition action must be nonnegative",
    );
    is_argument(
        transition(r#""Date":"2027-01-01T00:00:01Z","StorageClass":"GLACIER""#),
        "'Date' must be at midnight GMT",
    );
    // Midnight elsewhere is not midnight here.
    is_argument(
        transition(r#""Date":"2027-01-01T00:00:00+01:00","StorageClass":"GLACIER""#),
        "'Date' must be at midnight GMT",
    );
}

#[test]
fn expirations_say_exactly_one_thing() {
    let expiration = |members: &str| with(&format!(r#""Expiration":{{{members}}}"#));
    assert!(expiration(r#""Days":1"#).is_ok());
    for days in [0, -1] {
        is_argument(
            expiration(&format!(r#""Days":{days}"#)),
            "'Days' for Expiration action must be a positive integer",
        );
    }
    is_malformed(expiration(""));
    is_malformed(expiration(r#""Days":1,"Date":"2027-01-01""#));
    is_malformed(expiration(r#""Days":1,"ExpiredObjectDeleteMarker":true"#));
    is_malformed(expiration(
        r#""Date":"2027-01-01","ExpiredObjectDeleteMarker":false"#,
    ));
    is_argument(
        expiration(r#""Date":"2027-01-01T12:00:00Z""#),
        "'Date' must be at midnight GMT",
    );
    let rules = expiration(r#""ExpiredObjectDeleteMarker":true"#).expect("it is valid");
    assert_eq!(
        rules.rules()[0].expiration,
        Some(Expiration::LoneDeleteMarker)
    );
    let rules = expiration(r#""ExpiredObjectDeleteMarker":false"#).expect("it is valid");
    assert_eq!(rules.rules()[0].expiration, None);
}

#[test]
fn actions_without_tags_or_sizes_refuse_them() {
    for (action, name) in [
        (
            r#""Expiration":{"ExpiredObjectDeleteMarker":true}"#,
            "ExpiredObjectDeleteMarker",
        ),
        (
            r#""AbortIncompleteMultipartUpload":{"DaysAfterInitiation":1}"#,
            "AbortIncompleteMultipartUpload",
        ),
    ] {
        let rule = |filter: &str| {
            json(&format!(
                r#"[{{"ID":"r","Status":"Enabled","Filter":{filter},{action}}}]"#
            ))
            .validate()
        };
        assert!(rule("{}").is_ok());
        is_request(
            rule(r#"{"Tag":{"Key":"k","Value":"v"}}"#),
            &format!("{name} cannot be specified with Tags."),
        );
        is_request(
            rule(r#"{"ObjectSizeLessThan":5}"#),
            &format!("{name} cannot be specified with Object Size."),
        );
    }
}

#[test]
fn the_order_of_actions_is_checked() {
    is_argument(
        with(r#""Transitions":[{"Days":30,"StorageClass":"GLACIER"}],"Expiration":{"Days":30}"#),
        "'Days' in the Expiration action for filter '(prefix=a/)' must be greater than 'Days' in the Transition action",
    );
    is_request(
        with(
            r#""Transitions":[{"Date":"2027-01-02","StorageClass":"GLACIER"}],"Expiration":{"Date":"2027-01-01"}"#,
        ),
        "'Date' in the Expiration action for filter '(prefix=a/)' must be later than 'Date' in the Transition action",
    );
    is_request(
        with(
            r#""Transitions":[{"Date":"2027-01-02","StorageClass":"GLACIER"}],"Expiration":{"Days":400}"#,
        ),
        "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for filter '(prefix=a/)'",
    );
    is_request(
        with(
            r#""Transitions":[{"Days":1,"StorageClass":"GLACIER"},{"Days":2,"StorageClass":"GLACIER"}]"#,
        ),
        "'StorageClass' must be different for 'Transition' actions in same 'Rule' with filter '(prefix=a/)'",
    );
    // Whichever is written first, the colder class must come later.
    for (first, second) in [("GLACIER", "DEEP_ARCHIVE"), ("DEEP_ARCHIVE", "GLACIER")] {
        let (glacier, deep) = if first == "GLACIER" { (9, 9) } else { (9, 10) };
        let days = |class| if class == "GLACIER" { deep } else { glacier };
        is_argument(
            with(&format!(
                r#""Transitions":[{{"Days":{},"StorageClass":"{first}"}},{{"Days":{},"StorageClass":"{second}"}}]"#,
                days(first),
                days(second)
            )),
            "'Days' in the Transition action for StorageClass 'DEEP_ARCHIVE' for filter '(prefix=a/)' must be greater than 'Days' in the Transition action for StorageClass 'GLACIER'",
        );
    }
    assert!(
        with(
            r#""Transitions":[{"Days":90,"StorageClass":"DEEP_ARCHIVE"},{"Days":30,"StorageClass":"GLACIER"}],"Expiration":{"Days":91}"#,
        )
        .is_ok()
    );
    assert!(
        with(
            r#""Transitions":[{"Date":"1969-01-01","StorageClass":"GLACIER"}],"Expiration":{"Date":"1971-01-01"}"#,
        )
        .is_ok()
    );
}

#[test]
fn noncurrent_actions_are_checked() {
    let expiration = |days: Option<i32>, newer: Option<i32>| {
        let mut configuration = json(r#"[{"ID":"r","Status":"Enabled","Filter":{"Prefix":"a/"}}]"#);
        configuration.rules[0].noncurrent_version_expiration =
            Some(RequestedNoncurrentExpiration {
                noncurrent_days: days,
                newer_noncurrent_versions: newer,
            });
        configuration.validate()
    };
    assert!(expiration(Some(1), Some(100)).is_ok());
    is_malformed(expiration(None, Some(1)));
    is_argument(
        expiration(Some(0), None),
        "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
    );
    for newer in [0, 101, -1] {
        is_argument(
            expiration(Some(1), Some(newer)),
            "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be between 1 and 100",
        );
    }
    is_malformed(with(
        r#""NoncurrentVersionTransitions":[{"StorageClass":"GLACIER"}]"#,
    ));
    is_malformed(with(
        r#""NoncurrentVersionTransitions":[{"NoncurrentDays":1}]"#,
    ));
    is_argument(
        with(r#""NoncurrentVersionTransitions":[{"NoncurrentDays":-1,"StorageClass":"GLACIER"}]"#),
        "'NoncurrentDays' in NoncurrentVersionTransition action must be nonnegative",
    );
    is_request(
        with(
            r#""NoncurrentVersionTransitions":[{"NoncurrentDays":1,"StorageClass":"GLACIER"},{"NoncurrentDays":2,"StorageClass":"GLACIER"}]"#,
        ),
        "'StorageClass' must be different for 'NoncurrentVersionTransition' actions in same 'Rule' with filter '(prefix=a/)'",
    );
    is_argument(
        with(
            r#""NoncurrentVersionTransitions":[{"NoncurrentDays":5,"StorageClass":"GLACIER"}],"NoncurrentVersionExpiration":{"NoncurrentDays":5}"#,
        ),
        "'NoncurrentDays' in the NoncurrentVersionExpiration action for filter '(prefix=a/)' must be greater than 'NoncurrentDays' in the NoncurrentVersionTransition action",
    );
}

#[test]
fn uploads_are_given_up_after_a_positive_number_of_days() {
    let abort = |days: Option<i32>| {
        let mut configuration = json(r#"[{"ID":"r","Status":"Enabled","Filter":{"Prefix":"a/"}}]"#);
        configuration.rules[0].abort_incomplete_multipart_upload = Some(RequestedAbort {
            days_after_initiation: days,
        });
        configuration.validate()
    };
    assert_eq!(
        abort(Some(7)).expect("it is valid").rules()[0].abort_uploads_after_days,
        Some(7)
    );
    is_malformed(abort(None));
    is_argument(
        abort(Some(0)),
        "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer",
    );
}

#[test]
fn the_default_minimum_has_two_values() {
    let with_minimum = |value: Option<&str>| {
        let mut configuration =
            json(r#"[{"ID":"r","Status":"Enabled","Filter":{},"Expiration":{"Days":1}}]"#);
        configuration.transition_default_minimum_object_size = value.map(str::to_owned);
        configuration.validate()
    };
    for minimum in [
        TransitionMinimum::AllStorageClasses128K,
        TransitionMinimum::VariesByStorageClass,
    ] {
        let rules = with_minimum(Some(minimum.as_str())).expect("it is valid");
        assert_eq!(rules.minimum(), minimum);
    }
    assert_eq!(
        with_minimum(None).expect("it is valid").minimum(),
        TransitionMinimum::AllStorageClasses128K
    );
    is_request(
        with_minimum(Some("64K")),
        "Invalid TransitionDefaultMinimumObjectSize found: 64K",
    );
}

#[test]
fn dates_are_read_as_rfc_3339() {
    let midnight = Some(RuleDate(Timestamp::from_seconds(1_798_761_600)));
    assert_eq!(RuleDate::parse("2027-01-01"), midnight);
    assert_eq!(RuleDate::parse("2027-01-01T00:00:00Z"), midnight);
    assert_eq!(RuleDate::parse("2027-01-01T00:00:00.000Z"), midnight);
    for text in [
        "",
        "2027",
        "2027-13-01",
        "2027-02-30",
        "01/01/2027",
        "tomorrow!!",
    ] {
        assert_eq!(RuleDate::parse(text), None, "{text:?}");
    }
}

#[test]
fn an_and_of_tags_alone_is_legal() {
    let tag = |key: &str| Tag {
        key: key.to_owned(),
        value: String::new(),
    };
    let filter = RequestedFilter {
        and: Some(RequestedAnd {
            tags: vec![tag("a"), tag("b")],
            ..RequestedAnd::default()
        }),
        ..RequestedFilter::default()
    };
    let filter = filter.validate().expect("two tags are two conditions");
    assert!(filter.matches("k", &[tag("b"), tag("a"), tag("c")], 0));
    assert!(!filter.matches("k", &[tag("b")], 0));
}
