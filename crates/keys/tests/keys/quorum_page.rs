//! The worked example of `docs/format/quorum.md` is what the service writes and reads.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use strongroom_keys::{
    KeyError, KeyLimits, KeyService, ProposalId, ProposalState, QuorumHistory, QuorumRule,
    Statement,
};
use strongroom_meta::Table;
use strongroom_pkcs11::MemoryToken;

use crate::page::{Example, Told, key};
use crate::quorum::{ASKED, PROPOSALS, RULE, custodians, two_of};
use crate::world::{Ground, caller, config};

const PAGE: &str = include_str!("../../../../docs/format/quorum.md");
const PROPOSAL: &str = "00066517289880006162636465666768";

/// A block of the page, by its kind and name.
fn block(name: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("```{name}\n"))
        .unwrap_or_else(|| panic!("the page has a block {name}"));
    rest.split_once("```").expect("it ends").0
}

fn hex(name: &str) -> Vec<u8> {
    let digits: String = block(&format!("hex {name}")).split_whitespace().collect();
    HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal")
}

/// As the page has it.
fn printed(bytes: &[u8]) -> String {
    let digits = HEXLOWER.encode(bytes);
    let lines: Vec<&str> = (0..digits.len())
        .step_by(64)
        .map(|at| &digits[at..digits.len().min(at + 64)])
        .collect();
    format!("{}\n", lines.join("\n"))
}

async fn ground() -> (Ground, KeyService) {
    let version = Example::one("Table `kms_key_versions`");
    let (of_token, of_service) = (Arc::new(Told::default()), Arc::new(Told::default()));
    of_token.next(&[version.bytes("root KEK"), version.bytes("MAC key")]);
    let ground = Ground::new(Arc::new(MemoryToken::with_entropy(of_token))).await;
    let service = KeyService::start(
        config(KeyLimits::default()),
        Arc::clone(&ground.token) as _,
        Arc::clone(&ground.meta) as _,
        Arc::clone(&ground.log) as _,
        Arc::clone(&ground.clock) as _,
        Arc::clone(&of_service) as _,
    )
    .await
    .expect("it starts");
    of_service.next(&[key().as_bytes()]);
    let made = service.kms.create_key("", &caller()).await;
    assert_eq!(made.expect("a key").id, key());
    of_service.next(&[b"abcdefgh"]);
    (ground, service)
}

#[tokio::test]
async fn the_rows_of_the_page_are_what_is_written() {
    let (ground, service) = ground().await;
    let quorum = service.kms.quorum();
    let [ada, ben, cleo] = custodians();
    let rule = quorum.set_rule(&two_of(&[ada, ben, cleo]), &caller()).await;
    let rule = rule.expect("a rule");
    let mut written = vec![("json rule".to_owned(), format!("{}\n", rule.document()))];
    let asked = service
        .kms
        .schedule_key_deletion(&key().into(), 7, &caller())
        .await;
    let Err(KeyError::ApprovalNeeded { proposal, .. }) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(proposal.to_string(), PROPOSAL);
    let [ada, ..] = custodians();
    let text = quorum
        .proposal(proposal)
        .await
        .expect("it")
        .statement
        .approval_text();
    let approved = quorum.approve(proposal, &ada.sign(&text), &caller()).await;
    approved.expect("taken");
    let note = format!("{text}\n{}", ada.sign(&text));
    written.push(("text note".to_owned(), note));
    for (table, name) in [(RULE, "rule"), (PROPOSALS, "proposal"), (ASKED, "asked")] {
        let row = ground.rows_of(table).await.remove(0);
        written.push((format!("hex {name}-key"), printed(&row.key)));
        written.push((format!("hex {name}"), printed(&row.row.value)));
    }
    for (name, bytes) in written {
        assert_eq!(bytes, block(&name), "{name}");
    }
}

#[tokio::test]
async fn the_rows_of_the_page_are_read() {
    let (ground, service) = ground().await;
    for (table, name) in [(RULE, "rule"), (PROPOSALS, "proposal"), (ASKED, "asked")] {
        let table: Table = table;
        ground
            .set(table, &hex(&format!("{name}-key")), Some(&hex(name)))
            .await;
    }
    let quorum = service.kms.quorum();
    let (rule, _) = quorum.rule().await.expect("a rule").expect("one");
    assert_eq!(
        QuorumRule::parse(block("json rule").trim_end()),
        Some(rule.clone())
    );
    assert_eq!((rule.threshold(), rule.custodians().len()), (2, 3));
    let id: ProposalId = PROPOSAL.parse().expect("an id");
    let proposal = quorum.proposal(id).await.expect("a proposal");
    assert_eq!(proposal.state, ProposalState::Open);
    let (text, _) = block("text note").split_once("\n\n").expect("a note");
    assert_eq!(
        Statement::parse_approval(&format!("{text}\n")),
        Some(proposal.statement.clone())
    );
    let [_, ben, _] = custodians();
    let line = ben.sign(&proposal.statement.approval_text());
    quorum.approve(id, &line, &caller()).await.expect("taken");
    let done = service
        .kms
        .schedule_key_deletion(&key().into(), 7, &caller())
        .await;
    done.expect("both have approved");
    // Without the entry that names the custodians, the log says that nobody had to agree.
    let mut history = QuorumHistory::new(&quorum.deployment());
    for (index, entry) in (0..).zip(ground.entries.entries()) {
        history.see(index, &entry);
    }
    assert_eq!(history.finish().rule, None);
}
