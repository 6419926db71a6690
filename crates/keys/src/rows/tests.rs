//! The rows of the page, decoded and encoded.

use strongroom_audit::LeafIndex;
use strongroom_environment::Timestamp;
use strongroom_pkcs11::{ImportPath, KeyLabel, WrappedKey};

use super::*;
use crate::arn::{KeyId, KeyVersion};
use crate::context::EncryptionContext;
use crate::kms::{
    CiphertextBlob, GrantConstraint, GrantOperation, KeyManager, KeyOperation, KeyOrigin, KeySpec,
    KeyState, KeyUseCount, KeyUseLimits, LastUse, RewrapLevel, RewrapProgress, RewrapState,
    RotationSchedule,
};
use crate::names::{BucketKeyId, KeyMaterialId};

/// The bytes called `name` in the `number`th example of a table on the format's page.
fn example(table: Table, number: usize, name: &str) -> Vec<u8> {
    example_under(&format!("Table `{table}`"), number, name)
}

/// The bytes called `name` in the `number`th example under a heading of the format's page.
pub(crate) fn example_under(heading: &str, number: usize, name: &str) -> Vec<u8> {
    let page = include_str!("../../../../docs/format/keys.md");
    example_on(page, heading, number, name)
}

/// The same, of another page.
fn example_on(page: &str, heading: &str, number: usize, name: &str) -> Vec<u8> {
    let (_, section) = page
        .split_once(&format!("### {heading}\n"))
        .expect("the heading is on the page");
    let block = section
        .split("```")
        .nth(1 + 2 * number)
        .expect("it has an example");
    let (_, hex) = block
        .split_once(&format!("\n{name}:"))
        .expect("it is in it");
    let digits: String = hex
        .split(':')
        .next()
        .expect("there is always a first")
        .lines()
        .enumerate()
        // The last line begins another value, unless it is hex like those before it.
        .filter(|(at, line)| *at == 0 || line.starts_with(' '))
        .flat_map(|(_, line)| line.split_whitespace())
        .collect();
    data_encoding::HEXLOWER
        .decode(digits.as_bytes())
        .expect("it is hexadecimal")
}

fn assert_documented<R: RowFormat + PartialEq + std::fmt::Debug>(
    table: Table,
    number: usize,
    row: &R,
) {
    assert_is(&example(table, number, "value"), row);
}

fn assert_is<R: RowFormat + PartialEq + std::fmt::Debug>(value: &[u8], row: &R) {
    assert_eq!(R::decode(value).as_ref(), Some(row));
    assert_eq!(row.encode(), value);
    assert!(R::decode(&value[..value.len() - 1]).is_none());
    assert!(R::decode(&[value, &[0]].concat()).is_none());
    let other_version = [&[2], &value[1..]].concat();
    assert!(R::decode(&other_version).is_none());
}

#[test]
fn the_documented_rows_decode() {
    let id: KeyId = "00112233-4455-4677-8899-aabbccddeeff"
        .parse()
        .expect("an id");
    let created = Timestamp::from_seconds(1_800_000_000);
    let version = KeyVersion(1);
    let row = KeyRow {
        state: KeyState::Enabled,
        manager: KeyManager::Customer,
        current: version,
        created,
        rotation: Some(RotationSchedule {
            period_days: 365,
            next: Timestamp::from_seconds(1_800_000_000 + 365 * 86_400),
        }),
        on_demand_rotations: 0,
        description: "Photos, all of them".into(),
        spec: KeySpec::Symmetric,
        origin: KeyOrigin::Token,
    };
    assert_documented(KEYS, 0, &row);
    let policy = "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"000000000000\"},\
        \"Action\":\"kms:*\",\"Resource\":\"*\"}}";
    let row_of_policy = PolicyRow {
        document: policy.into(),
    };
    assert_documented(KEY_POLICIES, 0, &row_of_policy);
    let pairs = [("department".to_owned(), "9".to_owned())];
    let row_of_grant = GrantRow {
        created,
        operations: vec![GrantOperation::Decrypt, GrantOperation::DescribeKey],
        constraint: Some(GrantConstraint::ContextSubset(
            EncryptionContext::new(pairs).expect("a context"),
        )),
        grantee: "user/SRAKOBYXE43UOV3HO6DZ".into(),
        retiring: Some("root".into()),
        name: Some("report".into()),
    };
    assert_documented(GRANTS, 0, &row_of_grant);
    assert_documented(GRANT_COUNTS, 0, &GrantCountRow { count: 1 });
    let due = Due::of(id, &row).expect("it has a date");
    assert_eq!(due.to_bytes(), example(DUE, 0, "key"));
    assert_eq!(Due::from_bytes(&due.to_bytes()), Some(due));

    let wrapped = WrappedKey {
        kek: KeyLabel("strongroom-root-kek-1".into()),
        bytes: example(KEY_VERSIONS, 1, "wrapped key"),
    };
    let message = version_mac_message(id, version, &wrapped);
    assert_eq!(message, example(KEY_VERSIONS, 1, "MAC message"));
    assert_eq!(version_key(id, version), example(KEY_VERSIONS, 1, "key"));
    let mac = example(KEY_VERSIONS, 1, "MAC");
    let row = KeyVersionRow {
        origin: Origin::Creation,
        created,
        material: Material::Wrapped {
            wrapped,
            mac: mac.try_into().expect("32 bytes"),
        },
    };
    assert_documented(KEY_VERSIONS, 1, &row);

    let row = AliasRow {
        key: id,
        created,
        updated: Timestamp::from_seconds(1_800_000_009),
    };
    assert_documented(ALIASES, 0, &row);

    assert_eq!(tag_key(id, "team"), example(KEY_TAGS, 0, "key"));
    let row = TagRow {
        value: "imaging".into(),
    };
    assert_documented(KEY_TAGS, 0, &row);

    let bucket_key_value = example(BUCKET_KEYS, 0, "value");
    let row = BucketKeyRow {
        created,
        bucket: "photos".into(),
        blob: CiphertextBlob::from_bytes(&bucket_key_value[19..]).expect("a ciphertext"),
    };
    assert_documented(BUCKET_KEYS, 0, &row);
    let row = MovedBucketKeyRow {
        made_under: version,
        now_under: KeyVersion(3),
    };
    assert_documented(BUCKET_KEYS_MOVED, 0, &row);
    let bucket_key = BucketKeyId(*example(BUCKET_KEYS, 0, "key").first_chunk().expect("16"));
    assert_eq!(
        moved_key(id, bucket_key),
        example(BUCKET_KEYS_MOVED, 0, "key")
    );
    for number in 0..2 {
        let value = example(SERVICE_KEYS, number, "value");
        let row = ServiceKeyRow {
            created,
            blob: CiphertextBlob::from_bytes(&value[11..]).expect("a ciphertext"),
        };
        assert_documented(SERVICE_KEYS, number, &row);
    }
}

#[test]
fn the_documented_rows_of_a_destroyed_key_decode() {
    let created = Timestamp::from_seconds(1_800_000_000);
    let date = Timestamp::from_seconds(1_800_000_000 + 7 * 86_400);
    let row = KeyRow {
        state: KeyState::Destroyed { date },
        manager: KeyManager::Customer,
        current: KeyVersion(1),
        created,
        rotation: None,
        on_demand_rotations: 0,
        description: "Films, long gone".into(),
        spec: KeySpec::Symmetric,
        origin: KeyOrigin::Token,
    };
    assert_is(&example_under("Destroyed keys", 0, "value"), &row);
    let id: KeyId = "ffeeddcc-bbaa-4988-8776-655443322110"
        .parse()
        .expect("an id");
    assert_eq!(example_under("Destroyed keys", 0, "key"), id.as_bytes());
    assert!(Due::of(id, &row).is_none());
    let row = KeyVersionRow {
        origin: Origin::Creation,
        created,
        material: Material::Destroyed {
            date,
            kek: KeyLabel("strongroom-root-kek-1".into()),
        },
    };
    assert_is(&example_under("Destroyed keys", 1, "value"), &row);
}

#[test]
fn the_documented_rows_of_a_compromise_decode() {
    let row = CompromisedRow {
        marked: Timestamp::from_seconds(1_800_000_000),
        principal: "SrA".into(),
        reason: "it was".into(),
    };
    assert_documented(COMPROMISED, 0, &row);
    let row = RewrapProgress {
        level: RewrapLevel::DataKeys,
        state: RewrapState::Done {
            finished: Timestamp::from_seconds(1_800_000_007),
        },
        asked: Timestamp::from_seconds(1_800_000_000),
        principal: "SrA".into(),
        versions_expected: 3,
        versions: 3,
        bucket_keys: 0,
        uploads: 0,
        left: 0,
        busy_micros: 5_000,
        error: String::new(),
        cursor: Vec::new(),
    };
    assert_documented(REWRAPS, 0, &row);
    assert_eq!(row.versions_per_second(), Some(600));
    let row = LastUseRow(LastUse {
        at: Timestamp::from_seconds(1_800_000_000),
        operation: KeyOperation::GenerateDataKey,
        request_id: "f4".into(),
    });
    assert_documented(LAST_USES, 0, &row);
    let row = KeyUseLimits {
        uses_max: Some(1_000),
        not_before: Some(Timestamp::from_seconds(1_800_000_000)),
        ..KeyUseLimits::default()
    };
    assert_documented(LIMITS, 0, &row);
    let row = CountRow(KeyUseCount {
        uses: 1_000,
        size_bytes: 64_000,
    });
    assert_documented(COUNTS, 0, &row);
}

#[test]
fn the_documented_rows_of_the_end_of_a_key_decode() {
    let page = include_str!("../../../../docs/format/destruction-certificate.md");
    let on_page = |table: Table, number: usize| {
        example_on(page, &format!("Table `{table}`"), number, "value")
    };
    let row = DeletionRow {
        scheduled: Timestamp::from_seconds(1_800_000_000),
        entry: LeafIndex(7),
        principal: "administrator".into(),
    };
    assert_is(&on_page(DELETIONS, 0), &row);
    let row = CertificateRow::Unsigned {
        entry: LeafIndex(9),
        text: "{}".into(),
    };
    assert_is(&on_page(CERTIFICATES, 0), &row);
    let row = CertificateRow::Signed {
        note: "n".into(),
        entry: "{}".into(),
        proof: "p".into(),
    };
    assert_is(&on_page(CERTIFICATES, 1), &row);
    for kind in [0, 3] {
        let mut value = on_page(CERTIFICATES, 1);
        value[1] = kind;
        assert!(CertificateRow::decode(&value).is_none());
    }
}

#[test]
fn the_documented_rows_of_a_key_pair_decode() {
    let created = Timestamp::from_seconds(1_800_000_000);
    let (heading, spec) = (
        "HMAC keys and key pairs",
        KeySpec::named("ECC_NIST_P256", "SIGN_VERIFY").expect("a spec"),
    );
    let row = KeyRow {
        state: KeyState::Enabled,
        manager: KeyManager::Customer,
        current: KeyVersion(1),
        created,
        rotation: None,
        on_demand_rotations: 0,
        description: "Signs releases".into(),
        spec,
        origin: KeyOrigin::Token,
    };
    let value = example_under(heading, 0, "value");
    assert_eq!(KeyRow::decode(&value).as_ref(), Some(&row));
    assert_eq!(row.encode(), value);
    // Of the second version only keys that the first cannot tell.
    for code in [0, 15] {
        let mut value = value.clone();
        *value.last_mut().expect("a byte") = code;
        assert!(KeyRow::decode(&value).is_none());
    }
    let id: KeyId = "0f1e2d3c-4b5a-4697-a8b9-c0d1e2f30415"
        .parse()
        .expect("an id");
    let wrapped = WrappedKey {
        kek: KeyLabel("strongroom-root-kek-1".into()),
        bytes: example_under(heading, 2, "wrapped key"),
    };
    let public = example(PUBLIC_KEYS, 0, "value")[3..].to_vec();
    assert_eq!(
        wrapped_mac_message(id, KeyVersion(1), spec, &wrapped, &public),
        example_under(heading, 2, "MAC message")
    );
    let mac = example_under(heading, 2, "MAC");
    let row = KeyVersionRow {
        origin: Origin::Creation,
        created,
        material: Material::Wrapped {
            wrapped,
            mac: mac.try_into().expect("32 bytes"),
        },
    };
    assert_is(&example_under(heading, 2, "value"), &row);
    assert_documented(PUBLIC_KEYS, 0, &PublicKeyRow { der: public });
}

#[test]
fn the_documented_rows_of_imported_material_decode() {
    let created = Timestamp::from_seconds(1_800_000_000);
    let expires = Timestamp::from_seconds(1_800_000_000 + 30 * 86_400);
    let heading = "Imported material";
    let row = KeyRow {
        state: KeyState::Enabled,
        manager: KeyManager::Customer,
        current: KeyVersion(1),
        created,
        rotation: None,
        on_demand_rotations: 0,
        description: "X-rays".into(),
        spec: KeySpec::Symmetric,
        origin: KeyOrigin::External {
            is_complete: true,
            expires: Some(expires),
        },
    };
    let value = example_under(heading, 0, "value");
    assert_eq!(KeyRow::decode(&value).as_ref(), Some(&row));
    assert_eq!(row.encode(), value);
    let id: KeyId = "66778899-aabb-4cdd-8eff-001122334455"
        .parse()
        .expect("an id");
    let due = Due::of(id, &row).expect("it has a date");
    assert_eq!((due.date, due.act), (expires, DueAct::Expire));
    assert_eq!(Due::from_bytes(&due.to_bytes()), Some(due));
    let waits = KeyRow {
        state: KeyState::PendingImport,
        origin: KeyOrigin::EXTERNAL,
        ..row.clone()
    };
    assert_eq!(KeyRow::decode(&waits.encode()), Some(waits));
    // Of what is due the first is done, and then the next.
    let doomed = |date| KeyRow {
        state: KeyState::PendingDeletion { date },
        ..row.clone()
    };
    let sooner = Due::of(id, &doomed(created)).expect("it has a date");
    assert_eq!((sooner.date, sooner.act), (created, DueAct::Destroy));
    let later = Timestamp::from_seconds(1_900_000_000);
    assert_eq!(Due::of(id, &doomed(later)), Some(due));
    // A state that there is not, and neither complete nor not.
    let is_complete = value.len() - 9;
    for (at, byte) in [(1, 6), (is_complete, 2)] {
        let mut value = value.clone();
        value[at] = byte;
        assert!(KeyRow::decode(&value).is_none(), "{at}");
    }
    let row = KeyVersionRow {
        origin: Origin::Creation,
        created,
        material: Material::Absent {
            date: expires,
            kek: KeyLabel("strongroom-root-kek-1".into()),
        },
    };
    assert_is(&example_under(heading, 1, "value"), &row);

    let material = example(IMPORTS, 1, "material");
    let message = material_message(id);
    assert_eq!(message, example(IMPORTS, 1, "MAC message"));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &material);
    let row = ImportRow {
        material: KeyMaterialId(
            aws_lc_rs::hmac::sign(&key, &message)
                .as_ref()
                .try_into()
                .expect("32 bytes"),
        ),
        imported: created,
        expires: Some(expires),
        path: ImportPath::Token,
        description: "vault 7".into(),
    };
    assert_documented(IMPORTS, 1, &row);
    for path in [0, 3] {
        let mut value = example(IMPORTS, 1, "value");
        value[49] = path;
        assert!(ImportRow::decode(&value).is_none());
    }
}

#[test]
fn the_documented_row_of_a_backup_decodes() {
    let row = BackupRow {
        begun: Timestamp::from_seconds(1_800_000_000),
        principal: "administrator".into(),
        escrow_key_sha256: std::array::from_fn(|at| 0x20 + at as u8),
        proposal: Some(
            "00066517289880006162636465666768"
                .parse()
                .expect("the id of a proposal"),
        ),
        mac: [0; 32],
    };
    let message = row.mac_message("00112233445566778899aabbccddeeff");
    assert_eq!(message, example(BACKUPS, 1, "MAC message"));
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        &example(BACKUPS, 1, "MAC key"),
    );
    let mac = aws_lc_rs::hmac::sign(&key, &message);
    let row = BackupRow {
        mac: mac.as_ref().try_into().expect("32 bytes"),
        ..row
    };
    assert_documented(BACKUPS, 1, &row);
    let unapproved = BackupRow {
        proposal: None,
        ..row.clone()
    };
    assert_eq!(BackupRow::decode(&unapproved.encode()), Some(unapproved));
    let mut value = row.encode();
    let at = value.len() - 32 - 17;
    value[at] = 2;
    assert_eq!(BackupRow::decode(&value), None);
}

#[test]
fn what_the_page_does_not_name_is_refused() {
    let value = example(KEYS, 0, "value");
    let pending = KeyRow {
        state: KeyState::PendingDeletion {
            date: Timestamp::from_seconds(1_800_604_800),
        },
        ..KeyRow::decode(&value).expect("a row")
    };
    assert_eq!(KeyRow::decode(&pending.encode()), Some(pending));
    // A state, a manager, a date in a state that has none, a period that is too long.
    for (at, byte) in [(1, 0), (1, 5), (2, 0), (2, 3), (22, 1), (24, 1)] {
        let mut value = value.clone();
        value[at] = byte;
        assert!(KeyRow::decode(&value).is_none(), "{at}");
    }
    for (period_days, is_named) in [(0, false), (89, false), (90, true), (255, true)] {
        let mut value = value.clone();
        value[25..27].copy_from_slice(&[0, period_days]);
        assert_eq!(KeyRow::decode(&value).is_some(), is_named, "{period_days}");
    }
    let value = example(KEY_VERSIONS, 1, "value");
    for (at, byte) in [(1, 0), (1, 4), (2, 1), (2, 3), (18, 1)] {
        let mut value = value.clone();
        value[at] = byte;
        assert!(KeyVersionRow::decode(&value).is_none(), "{at}");
    }
    let due = example(DUE, 0, "key");
    for len_bytes in 0..due.len() {
        assert!(Due::from_bytes(&due[..len_bytes]).is_none());
    }
    for act in [0, 5] {
        let mut due = due.clone();
        due[8] = act;
        assert!(Due::from_bytes(&due).is_none());
    }
}
