//! Whatever custodians and requesters do, in whichever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Ada, Ben, Cleo; somebody with Ada's name, and somebody with Ben's key.
fn people() -> [NoteSigner; 5] {
    let [ada, ben, cleo] = custodians();
    [ada, ben, cleo, custodian("ada", 7), custodian("bernd", 2)]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody asks for one of three things.
    Ask(usize),
    Approve(usize, usize),
    Reject(usize, usize),
    /// The approval of one proposal is sent for another.
    Replay(usize, usize, usize),
    /// The rejection of a proposal is sent as an approval.
    Twist(usize, usize),
    Pass(u32),
    /// The next commit fails.
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize).prop_map(Step::Ask),
        6 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Approve(of, by)),
        1 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Reject(of, by)),
        1 => (0..3_usize, 0..3_usize, 0..5_usize).prop_map(|(of, to, by)| Step::Replay(of, to, by)),
        1 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Twist(of, by)),
        1 => (1..9_u32).prop_map(Step::Pass),
        1 => Just(Step::Fail),
    ];
    prop::collection::vec(step, 1..40)
}

/// What is known of the proposal over each request.
#[derive(Clone, Debug)]
struct Known {
    id: ProposalId,
    opened_day: u32,
    approved: BTreeSet<usize>,
    is_rejected: bool,
}

async fn play(steps: Vec<Step>) {
    let (world, _) = guarded().await;
    let key = world.kms_key().await;
    let service = &world.service;
    let people = people();
    let mut known: [Option<Known>; 3] = [None, None, None];
    let mut today = 0;
    let mut done = 0;
    let mut fails = false;
    for step in steps {
        match step {
            Step::Pass(days) => {
                world.clock.pass(DAY * days);
                today += days;
                continue;
            }
            Step::Fail => {
                if !fails {
                    world.meta.fail_commit(0, CommitFault::Unavailable);
                    fails = true;
                }
                continue;
            }
            Step::Ask(of) => {
                let limits = KeyUseLimits {
                    uses_max: Some(of as u64),
                    ..KeyUseLimits::default()
                };
                let asked = service
                    .kms
                    .set_limits(&key.id.into(), limits, &caller())
                    .await;
                let current = known[of]
                    .as_ref()
                    .filter(|known| today < known.opened_day + 7);
                match asked {
                    Ok(()) => {
                        let by = current.expect("it was proposed");
                        assert!(by.approved.len() >= 2 && !by.is_rejected, "{by:?}");
                        known[of] = None;
                        done += 1;
                    }
                    Err(KeyError::ApprovalNeeded {
                        proposal,
                        approvals,
                        ..
                    }) => match current {
                        Some(known) => {
                            assert_eq!((known.id, known.is_rejected), (proposal, false));
                            assert_eq!(known.approved.len(), approvals);
                            assert!(approvals < 2);
                        }
                        None => {
                            fails = false;
                            known[of] = Some(Known {
                                id: proposal,
                                opened_day: today,
                                approved: BTreeSet::new(),
                                is_rejected: false,
                            });
                        }
                    },
                    Err(KeyError::ApprovalRejected { .. }) => {
                        assert!(current.expect("it was proposed").is_rejected);
                    }
                    Err(KeyError::NotCommitted(_)) => {
                        assert!(fails);
                        fails = false;
                    }
                    Err(error) => panic!("{error:?}"),
                }
                continue;
            }
            Step::Approve(of, by)
            | Step::Reject(of, by)
            | Step::Replay(of, _, by)
            | Step::Twist(of, by) => {
                let Some(proposal) = known[of].clone() else {
                    continue;
                };
                let statement = found(service, proposal.id).await.statement;
                let is_open = today < proposal.opened_day + 7 && !proposal.is_rejected;
                let (to, line, is_rejection) = match step {
                    Step::Reject(..) => (of, people[by].sign(&statement.rejection_text()), true),
                    Step::Twist(..) => (of, people[by].sign(&statement.rejection_text()), false),
                    Step::Replay(_, to, _) => {
                        (to, people[by].sign(&statement.approval_text()), false)
                    }
                    _ => (of, people[by].sign(&statement.approval_text()), false),
                };
                let Some(target) = known[to].clone() else {
                    continue;
                };
                let sent = if is_rejection {
                    quorum(service).reject(target.id, &line, &caller()).await
                } else {
                    quorum(service).approve(target.id, &line, &caller()).await
                };
                let is_good = by < 3
                    && to == of
                    && is_open
                    && !matches!(step, Step::Twist(..))
                    && (is_rejection || !target.approved.contains(&by));
                match sent {
                    Ok(_) => {
                        assert!(is_good, "{step:?}");
                        let target = known[to].as_mut().expect("it is there");
                        if is_rejection {
                            target.is_rejected = true;
                        } else {
                            target.approved.insert(by);
                        }
                    }
                    Err(KeyError::NotCommitted(_)) => {
                        assert!(is_good && fails);
                        fails = false;
                    }
                    Err(error) => assert!(!is_good, "{step:?} {error:?}"),
                }
            }
        }
    }
    let report = history(&world);
    assert!(
        report.findings.is_empty() && report.remarks.is_empty(),
        "{report:#?}"
    );
    assert_eq!(report.acts.len(), done);
    assert!(report.acts.iter().all(|act| act.custodians.len() >= 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever people send in whatever order: nothing is done that two of the three have not
    /// approved, and what they have approved is done.
    #[test]
    fn is_carried_out_by_two_of_three_only(steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(play(steps));
    }
}
