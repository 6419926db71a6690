//! What policies say, as a table; and that they say it of anything.

use proptest::prelude::*;
use serde_json::{Value, json};
use strongroom_environment::Timestamp;

use super::*;
use crate::context::EncryptionContext;
use crate::users::Role;

const ANN: &str = "SRAKAAAAAAAAAAAAAAAA";

fn home() -> Home {
    Home {
        region: "test-1".into(),
        account: "000000000000".into(),
    }
}

fn caller(standing: Standing) -> Caller {
    Caller {
        principal: match standing {
            Standing::User(_) => ANN.into(),
            Standing::Root => "administrator".into(),
            Standing::Daemon => Caller::DAEMON.into(),
        },
        standing,
        request_id: "r".into(),
        operation: "kms:Test".into(),
        source: Some([192, 0, 2, 7].into()),
        store: None,
    }
}

const ARN: &str = "arn:aws:kms:test-1:000000000000:key/00112233-4455-4677-8899-aabbccddeeff";

/// What comes of a request under a policy, in one word.
fn outcome(policy: &str, standing: Standing, wish: &Wish<'_>) -> &'static str {
    let home = home();
    let policy = match Policy::parse(policy, &home) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(matches!(error, KeyError::MalformedPolicy { .. }));
            return "malformed";
        }
    };
    let facts = Facts {
        home: &home,
        caller: &caller(standing),
        key: &KeyFacts {
            spec: "SYMMETRIC_DEFAULT",
            usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            tags: vec![("team".into(), "imaging".into())],
            aliases: vec!["alias/photos".into(), "alias/films".into()],
        },
        wish,
        now: Timestamp::from_seconds(1_800_000_000),
    };
    match weigh(&policy, ARN, &facts) {
        Weighed::Allowed => "allowed",
        Weighed::Denied(_) => "denied",
        Weighed::Open => "open",
    }
}

fn statement(effect: &str, principal: Value, action: Value, condition: Value) -> Value {
    json!({
        "Effect": effect,
        "Principal": principal,
        "Action": action,
        "Resource": "*",
        "Condition": condition,
    })
}

fn policy(statements: &[Value]) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

#[test]
fn principals_and_roles_decide() {
    let account = json!({ "AWS": "arn:aws:iam::000000000000:root" });
    let ann = json!({ "AWS": format!("arn:aws:iam::000000000000:user/{ANN}") });
    let ben = json!({ "AWS": "arn:aws:iam::000000000000:user/SRAKBBBBBBBBBBBBBBBB" });
    let admins = json!({ "AWS": ["arn:aws:iam::000000000000:role/admin"] });
    let users = json!({ "AWS": "arn:aws:iam::000000000000:role/user" });
    let auditors = json!({ "AWS": "arn:aws:iam::000000000000:role/auditor" });
    let service = json!({ "Service": "logs.test-1.amazonaws.com" });
    let everyone = json!("*");
    let (admin, user, auditor) = (
        Standing::User(Role::Admin),
        Standing::User(Role::User),
        Standing::User(Role::Auditor),
    );
    let allow = |principal: &Value, action: &str| {
        statement("Allow", principal.clone(), json!(action), json!({}))
    };
    let deny = |principal: &Value, action: &str| {
        statement("Deny", principal.clone(), json!(action), json!({}))
    };
    for (statements, who, action, expected) in [
        // The account leaves it to the role.
        (vec![allow(&account, "kms:*")], admin, "Decrypt", "allowed"),
        (
            vec![allow(&account, "kms:*")],
            admin,
            "DisableKey",
            "allowed",
        ),
        (vec![allow(&account, "kms:*")], user, "Decrypt", "allowed"),
        (vec![allow(&account, "kms:*")], user, "DisableKey", "open"),
        (
            vec![allow(&account, "kms:*")],
            Standing::Root,
            "DisableKey",
            "allowed",
        ),
        (
            vec![allow(&account, "kms:*")],
            auditor,
            "GetKeyPolicy",
            "allowed",
        ),
        (vec![allow(&account, "kms:*")], auditor, "Decrypt", "denied"),
        (
            vec![allow(&account, "kms:Encrypt")],
            admin,
            "Decrypt",
            "open",
        ),
        // By name, by role, and as one of everybody, whatever the role.
        (
            vec![allow(&ann, "kms:DisableKey")],
            user,
            "DisableKey",
            "allowed",
        ),
        (
            vec![allow(&ben, "kms:DisableKey")],
            user,
            "DisableKey",
            "open",
        ),
        (
            vec![allow(&users, "kms:DisableKey")],
            user,
            "DisableKey",
            "allowed",
        ),
        (vec![allow(&admins, "kms:*")], user, "Decrypt", "open"),
        (vec![allow(&admins, "kms:*")], admin, "Decrypt", "allowed"),
        (
            vec![allow(&admins, "kms:*")],
            Standing::Root,
            "Decrypt",
            "open",
        ),
        (
            vec![allow(&everyone, "kms:DisableKey")],
            user,
            "DisableKey",
            "allowed",
        ),
        (vec![allow(&service, "kms:*")], admin, "Decrypt", "open"),
        // No policy lets an auditor use a key.
        (
            vec![allow(&auditors, "kms:*")],
            auditor,
            "Decrypt",
            "denied",
        ),
        (
            vec![allow(&everyone, "kms:*")],
            auditor,
            "Encrypt",
            "denied",
        ),
        // A denial counts before all that allow, wherever it stands.
        (
            vec![allow(&ann, "kms:*"), deny(&users, "kms:Decrypt")],
            user,
            "Decrypt",
            "denied",
        ),
        (
            vec![deny(&account, "kms:Decrypt"), allow(&ann, "kms:*")],
            user,
            "Decrypt",
            "denied",
        ),
        (
            vec![deny(&everyone, "kms:De*"), allow(&account, "kms:*")],
            Standing::Root,
            "Decrypt",
            "denied",
        ),
        (
            vec![allow(&ann, "kms:*"), deny(&ben, "kms:*")],
            user,
            "Decrypt",
            "allowed",
        ),
        (
            vec![allow(&ann, "kms:*"), deny(&service, "kms:*")],
            user,
            "Decrypt",
            "allowed",
        ),
        // Actions are in any case, and of this service.
        (vec![allow(&ann, "KMS:decrypt")], user, "Decrypt", "allowed"),
        (
            vec![allow(&ann, "kms:Generate*")],
            user,
            "GenerateDataKey",
            "allowed",
        ),
        (
            vec![allow(&ann, "kms:ReEncrypt?rom")],
            user,
            "ReEncryptFrom",
            "allowed",
        ),
        (vec![allow(&ann, "*")], user, "Decrypt", "allowed"),
        (vec![allow(&ann, "s3:*")], user, "Decrypt", "open"),
    ] {
        let text = policy(&statements);
        assert_eq!(
            outcome(&text, who, &Wish::to(action)),
            expected,
            "{text} {who:?} {action}"
        );
    }
}

#[test]
fn statements_cover_by_what_they_name_and_by_what_they_do_not() {
    let ann = json!({ "AWS": format!("arn:aws:iam::000000000000:user/{ANN}") });
    for (members, expected) in [
        (
            json!({ "Action": "kms:Decrypt", "Resource": "*" }),
            "allowed",
        ),
        (
            json!({ "Action": "kms:Decrypt", "Resource": ARN }),
            "allowed",
        ),
        (
            json!({ "Action": "kms:Decrypt", "Resource": "arn:aws:kms:*:*:key/*" }),
            "allowed",
        ),
        (
            json!({ "Action": "kms:Decrypt", "Resource": "arn:aws:kms:test-1:000000000000:key/x" }),
            "open",
        ),
        (
            json!({ "NotAction": "kms:Decrypt", "Resource": "*" }),
            "open",
        ),
        (
            json!({ "NotAction": ["kms:Encrypt", "kms:Sign"], "Resource": "*" }),
            "allowed",
        ),
        (
            json!({ "Action": "kms:Decrypt", "NotResource": ARN }),
            "open",
        ),
        (
            json!({ "Action": "kms:Decrypt", "NotResource": "arn:aws:s3:::x" }),
            "allowed",
        ),
        // Without an action or a resource a statement has no effect.
        (json!({ "Action": "kms:Decrypt" }), "open"),
        (json!({ "Resource": "*" }), "open"),
        (json!({ "Action": [], "Resource": "*" }), "open"),
    ] {
        let mut statement = members.clone();
        statement["Effect"] = "Allow".into();
        statement["Principal"] = ann.clone();
        let text = policy(&[statement]);
        let outcome = outcome(&text, Standing::User(Role::User), &Wish::to("Decrypt"));
        assert_eq!(outcome, expected, "{members}");
    }
}

#[test]
fn conditions_decide_as_iam_says() {
    let context = EncryptionContext::new([
        ("dept".to_owned(), "radiology".to_owned()),
        ("Ward".to_owned(), "7".to_owned()),
    ])
    .expect("a context");
    let alias: KeyReference = "alias/photos".parse().expect("a name");
    let wish = Wish::to("Decrypt")
        .context(&context)
        .reference(&alias)
        .with("kms:RotationPeriodInDays", 90)
        .with_all("kms:GrantOperations", ["Encrypt".into(), "Decrypt".into()])
        .through_store();
    let keys = "kms:EncryptionContextKeys";
    for (condition, expected) in [
        (
            json!({ "StringEquals": { "kms:EncryptionContext:dept": "radiology" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:EncryptionContext:DEPT": "radiology" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:EncryptionContext:dept": "Radiology" } }),
            "open",
        ),
        (
            json!({ "StringEqualsIgnoreCase": { "kms:EncryptionContext:dept": "Radiology" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:EncryptionContext:dept": ["x", "radiology"] } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:EncryptionContext:none": "x" } }),
            "open",
        ),
        (
            json!({ "StringEqualsIfExists": { "kms:EncryptionContext:none": "x" } }),
            "allowed",
        ),
        (
            json!({ "StringEqualsIfExists": { "kms:EncryptionContext:dept": "x" } }),
            "open",
        ),
        (
            json!({ "StringNotEquals": { "kms:EncryptionContext:none": "x" } }),
            "allowed",
        ),
        (
            json!({ "StringNotEquals": { "kms:EncryptionContext:dept": "x" } }),
            "allowed",
        ),
        (
            json!({ "StringNotEquals": { "kms:EncryptionContext:dept": ["x", "radiology"] } }),
            "open",
        ),
        (
            json!({ "StringNotEqualsIgnoreCase": { "kms:EncryptionContext:dept": "RADIOLOGY" } }),
            "open",
        ),
        (
            json!({ "StringLike": { "kms:EncryptionContext:dept": "radio*" } }),
            "allowed",
        ),
        (
            json!({ "StringLike": { "kms:EncryptionContext:dept": "radio" } }),
            "open",
        ),
        (
            json!({ "StringNotLike": { "kms:EncryptionContext:dept": "radio*" } }),
            "open",
        ),
        (
            json!({ "ForAnyValue:StringEquals": { keys: "dept" } }),
            "allowed",
        ),
        (
            json!({ "ForAnyValue:StringEquals": { keys: ["x", "y"] } }),
            "open",
        ),
        (
            json!({ "ForAllValues:StringEquals": { keys: ["dept", "Ward", "x"] } }),
            "allowed",
        ),
        (
            json!({ "ForAllValues:StringEquals": { keys: ["dept"] } }),
            "open",
        ),
        (
            json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["x"] } }),
            "allowed",
        ),
        (
            json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": ["x"] } }),
            "open",
        ),
        (
            json!({ "ForAllValues:StringNotEquals": { keys: ["x"] } }),
            "allowed",
        ),
        (
            json!({ "ForAnyValue:StringNotEquals": { keys: ["dept"] } }),
            "allowed",
        ),
        (
            json!({ "ForAnyValue:StringNotEquals": { keys: ["dept", "Ward"] } }),
            "open",
        ),
        (
            json!({ "ForAnyValue:StringEquals": { "kms:GrantOperations": "Decrypt" } }),
            "allowed",
        ),
        (
            json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": "alias/films" } }),
            "allowed",
        ),
        (
            json!({ "Null": { "kms:EncryptionContext:dept": "false" } }),
            "allowed",
        ),
        (
            json!({ "Null": { "kms:EncryptionContext:dept": true } }),
            "open",
        ),
        (
            json!({ "Null": { "kms:EncryptionContext:none": true } }),
            "allowed",
        ),
        (
            json!({ "Bool": { "aws:ViaAWSService": "true" } }),
            "allowed",
        ),
        (json!({ "Bool": { "kms:MultiRegion": true } }), "open"),
        (
            json!({ "BoolIfExists": { "kms:GrantIsForAWSResource": "true" } }),
            "allowed",
        ),
        (
            json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } }),
            "open",
        ),
        (
            json!({ "NumericLessThanEquals": { "kms:RotationPeriodInDays": 90 } }),
            "allowed",
        ),
        (
            json!({ "NumericLessThan": { "kms:RotationPeriodInDays": "90" } }),
            "open",
        ),
        (
            json!({ "NumericEquals": { "kms:RotationPeriodInDays": "90.0" } }),
            "allowed",
        ),
        (
            json!({ "NumericNotEquals": { "kms:RotationPeriodInDays": 90 } }),
            "open",
        ),
        (
            json!({ "NumericGreaterThan": { "kms:RotationPeriodInDays": 7 } }),
            "allowed",
        ),
        (
            json!({ "NumericGreaterThanEquals": { "kms:RotationPeriodInDays": 91 } }),
            "open",
        ),
        (
            json!({ "DateGreaterThan": { "aws:CurrentTime": "2027-01-01T00:00:00Z" } }),
            "allowed",
        ),
        (
            json!({ "DateLessThan": { "aws:CurrentTime": "2027-01-15" } }),
            "open",
        ),
        (
            json!({ "DateLessThan": { "aws:CurrentTime": "2027-01-15T09:00:00+00:00" } }),
            "allowed",
        ),
        (
            json!({ "DateEquals": { "aws:EpochTime": 1_800_000_000 } }),
            "allowed",
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "192.0.2.0/24" } }),
            "allowed",
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": ["203.0.113.0/24", "192.0.2.7"] } }),
            "allowed",
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "192.0.3.0/24" } }),
            "open",
        ),
        (
            json!({ "NotIpAddress": { "aws:SourceIp": "192.0.2.0/25" } }),
            "open",
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "2001:db8::/32" } }),
            "open",
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "0.0.0.0/0" } }),
            "allowed",
        ),
        (
            json!({ "ArnLike": { "aws:PrincipalArn": "arn:aws:iam::*:user/SRAK*" } }),
            "allowed",
        ),
        (
            json!({ "ArnEquals": { "aws:PrincipalArn": "arn:aws:iam::000000000000:root" } }),
            "open",
        ),
        (
            json!({ "ArnNotLike": { "aws:PrincipalArn": "arn:*:user/*" } }),
            "malformed",
        ),
        (
            json!({ "StringEquals": { "kms:ViaService": "s3.test-1.amazonaws.com" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:CallerAccount": "000000000000" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:KeySpec": "SYMMETRIC_DEFAULT" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "kms:KeyUsage": "SIGN_VERIFY" } }),
            "open",
        ),
        (
            json!({ "StringEquals": { "kms:RequestAlias": "alias/photos" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "aws:ResourceTag/team": "imaging" } }),
            "allowed",
        ),
        (
            json!({ "StringEquals": { "aws:ResourceTag/none": "imaging" } }),
            "open",
        ),
        (json!({ "StringEquals": { "AWS:USERID": ANN } }), "allowed"),
        // Every line has to be met, and every key of a line.
        (
            json!({ "StringEquals": { "kms:KeyOrigin": "AWS_KMS", "kms:CallerAccount": "1" } }),
            "open",
        ),
        (
            json!({ "StringEquals": { "kms:KeyOrigin": "AWS_KMS" }, "Bool": { "kms:MultiRegion": "false" } }),
            "allowed",
        ),
    ] {
        let users = json!({ "AWS": "arn:aws:iam::000000000000:role/user" });
        let statement = statement("Allow", users, json!("kms:*"), condition.clone());
        let found = outcome(&policy(&[statement]), Standing::User(Role::User), &wish);
        assert_eq!(found, expected, "{condition}");
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    let good = statement("Allow", json!("*"), json!("kms:*"), json!({}));
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        policy(&[changed])
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().expect("an object").remove(name);
        policy(&[changed])
    };
    let who = Standing::User(Role::Admin);
    assert_eq!(
        outcome(
            &policy(std::slice::from_ref(&good)),
            who,
            &Wish::to("Decrypt")
        ),
        "allowed"
    );
    let mut twice = good.clone();
    twice["Sid"] = "same".into();
    for text in [
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        policy(&[]),
        json!({ "Version": "2026-01-01", "Statement": [good] }).to_string(),
        json!({ "Version": "2012-10-17", "Statement": [good], "Else": 1 }).to_string(),
        format!(r#"{{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{good}]}}"#),
        policy(&[twice.clone(), twice]),
        without("Effect"),
        without("Principal"),
        with("Effect", json!("Maybe")),
        with("Principal", json!("ann")),
        with("Principal", json!({})),
        with("Principal", json!({ "AWS": [] })),
        with(
            "Principal",
            json!({ "AWS": "arn:aws:iam::111111111111:root" }),
        ),
        with(
            "Principal",
            json!({ "AWS": "arn:aws:iam::000000000000:user/*" }),
        ),
        with("Principal", json!({ "Federated": "x" })),
        with("Principal", json!({ "Service": "x" })),
        with("NotPrincipal", json!("*")),
        with("NotAction", json!("kms:Decrypt")),
        with("NotResource", json!("*")),
        with("Action", json!("Decrypt")),
        with("Action", json!("kms:")),
        with("Action", json!({ "kms": 1 })),
        with("Resource", json!("key")),
        with("Unknown", json!(1)),
        with("Condition", json!([])),
        with("Condition", json!({ "StringIs": { "a": "b" } })),
        with(
            "Condition",
            json!({ "Everything:StringEquals": { "a": "b" } }),
        ),
        with("Condition", json!({ "NullIfExists": { "a": "true" } })),
        with("Condition", json!({ "StringEquals": { "": "b" } })),
        with("Condition", json!({ "StringEquals": { "a": [] } })),
        with(
            "Condition",
            json!({ "StringEquals": { "a": { "b": "c" } } }),
        ),
        with("Condition", json!({ "NumericEquals": { "a": "many" } })),
        with("Condition", json!({ "DateLessThan": { "a": "tomorrow" } })),
        with("Condition", json!({ "Bool": { "a": "perhaps" } })),
        with("Condition", json!({ "IpAddress": { "a": "192.0.2.0/33" } })),
        with("Condition", json!({ "ArnEquals": { "a": "b" } })),
        with(
            "Condition",
            json!({ "StringEquals": { "a": "${aws:username}" } }),
        ),
    ] {
        assert_eq!(
            outcome(&text, who, &Wish::to("Decrypt")),
            "malformed",
            "{text}"
        );
    }
    let twice = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*",
        "Condition":{"Bool":{"a":"true"},"Bool":{"b":"true"}}}]}"#;
    assert_eq!(outcome(twice, who, &Wish::to("Decrypt")), "malformed");
}

#[test]
fn our_own_policies_say_what_they_should() {
    let through = Wish::to("Decrypt").through_store();
    let direct = Wish::to("Decrypt");
    let (default, service) = (default_document(&home()), service_document(&home()));
    for (document, who, wish, expected) in [
        (&default, Standing::User(Role::User), &direct, "allowed"),
        (
            &default,
            Standing::Root,
            &Wish::to("PutKeyPolicy"),
            "allowed",
        ),
        (&service, Standing::User(Role::User), &through, "allowed"),
        (&service, Standing::User(Role::Admin), &direct, "open"),
        (
            &service,
            Standing::User(Role::Admin),
            &Wish::to("DescribeKey"),
            "allowed",
        ),
        (
            &service,
            Standing::User(Role::Admin),
            &Wish::to("PutKeyPolicy"),
            "open",
        ),
        (
            &service,
            Standing::User(Role::Admin),
            &Wish::to("CompromiseKeyVersion"),
            "allowed",
        ),
        (
            &service,
            Standing::User(Role::User),
            &Wish::to("CompromiseKeyVersion"),
            "open",
        ),
    ] {
        assert_eq!(outcome(document, who, wish), expected, "{who:?} {wish:?}");
    }
}

#[test]
fn an_act_is_the_action_of_its_name() {
    for (act, action) in [
        ("disable-key", "DisableKey"),
        ("rotate-key", "RotateKeyOnDemand"),
        ("tag-key", "TagResource"),
        ("update-key-description", "UpdateKeyDescription"),
        (
            "generate-data-key-without-plaintext",
            "GenerateDataKeyWithoutPlaintext",
        ),
    ] {
        assert_eq!(action_of(act), action);
    }
}

fn any_statement() -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        Just(json!("*")),
        Just(json!({ "AWS": "arn:aws:iam::000000000000:root" })),
        Just(json!({ "AWS": "arn:aws:iam::000000000000:role/user" })),
        Just(json!({ "AWS": ["000000000000", format!("arn:aws:iam::000000000000:user/{ANN}")] })),
        Just(json!({ "AWS": "arn:aws:iam::000000000000:user/SRAKBBBBBBBBBBBBBBBB" })),
    ];
    let action = prop_oneof![
        Just(json!("kms:*")),
        Just(json!(["kms:Decrypt", "kms:Encrypt"])),
        Just(json!("kms:D*")),
        Just(json!("kms:Sign")),
    ];
    let condition = prop_oneof![
        Just(json!({})),
        Just(json!({ "StringEquals": { "kms:KeyOrigin": "AWS_KMS" } })),
        Just(json!({ "Bool": { "kms:MultiRegion": "true" } })),
        Just(json!({ "StringNotEqualsIfExists": { "kms:ViaService": "x" } })),
    ];
    let effect = prop_oneof![Just("Allow"), Just("Deny")];
    (effect, principal, action, condition).prop_map(|(effect, principal, action, condition)| {
        statement(effect, principal, action, condition)
    })
}

proptest! {
    #[test]
    fn whatever_else_stands_there_a_denial_wins(
        mut statements in proptest::collection::vec(any_statement(), 0..6),
        at in 0_usize..7,
        standing in prop_oneof![
            Just(Standing::Root),
            Just(Standing::User(Role::Admin)),
            Just(Standing::User(Role::User)),
            Just(Standing::User(Role::Auditor)),
        ],
    ) {
        let denial = statement("Deny", json!("*"), json!("kms:Decrypt"), json!({}));
        statements.insert(at.min(statements.len()), denial);
        prop_assert_eq!(outcome(&policy(&statements), standing, &Wish::to("Decrypt")), "denied");
    }

    #[test]
    fn nothing_is_allowed_that_no_statement_allows(
        statements in proptest::collection::vec(any_statement(), 1..6),
    ) {
        let denials: Vec<Value> = statements
            .into_iter()
            .map(|mut statement| {
                statement["Effect"] = "Deny".into();
                statement
            })
            .collect();
        let outcome = outcome(&policy(&denials), Standing::User(Role::Admin), &Wish::to("Decrypt"));
        prop_assert_ne!(outcome, "allowed");
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = Policy::parse(&text, &home());
    }

    /// A sound policy with one place of it changed is read or refused, and judged if it is read.
    #[test]
    fn no_changed_policy_panics(
        statements in proptest::collection::vec(any_statement(), 1..3),
        at in any::<prop::sample::Index>(),
        put in "[\\[\\]{}\":,*$a0]{0,3}",
    ) {
        let mut text = policy(&statements);
        let at = at.index(text.len());
        text.replace_range(at..=at, &put);
        let _ = outcome(&text, Standing::User(Role::User), &Wish::to("Decrypt"));
    }
}
