//! Every state with every request, and every step in every state.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_767_260_000); // 2026-01-01 09:33:20

fn request(days: i64, tier: RetrievalTier) -> RestoreRequest {
    RestoreRequest {
        days: RestoreDays::new(days).expect("a legal number of days"),
        tier,
    }
}

fn all_requests() -> Vec<RestoreRequest> {
    RetrievalTier::ALL
        .into_iter()
        .flat_map(|tier| [1, 3].map(|days| request(days, tier)))
        .collect()
}

fn all_states() -> Vec<RestoreState> {
    let mut states = vec![
        RestoreState::Archived,
        RestoreState::Restored { until: NOW },
        RestoreState::Restored {
            until: NOW + Duration::from_micros(1),
        },
    ];
    states.extend(all_requests().into_iter().map(RestoreState::InProgress));
    states
}

/// The table of the documentation, written a second time as one would read it aloud.
fn expected(
    state: RestoreState,
    class: StorageClass,
    request: RestoreRequest,
) -> Result<(RestoreState, RestoreAnswer), RestoreRefusal> {
    if class != StorageClass::Glacier && class != StorageClass::DeepArchive {
        return Err(RestoreRefusal::NotArchived { class });
    }
    if class == StorageClass::DeepArchive && request.tier == RetrievalTier::Expedited {
        return Err(RestoreRefusal::TierNotOffered {
            tier: request.tier,
            class,
        });
    }
    let started = Ok((RestoreState::InProgress(request), RestoreAnswer::Started));
    match state {
        RestoreState::Archived => started,
        RestoreState::Restored { until } if until == NOW => started,
        RestoreState::Restored { .. } => {
            let day = 86_400 * (i64::from(request.days.get()) + 1);
            let until = Timestamp::from_seconds(1_767_225_600 + day);
            Ok((
                RestoreState::Restored { until },
                RestoreAnswer::AlreadyRestored { until },
            ))
        }
        RestoreState::InProgress(running) => {
            let is_faster = matches!(
                (request.tier, running.tier),
                (
                    RetrievalTier::Expedited,
                    RetrievalTier::Standard | RetrievalTier::Bulk
                ) | (RetrievalTier::Standard, RetrievalTier::Bulk)
            );
            if is_faster && request.days == running.days {
                Ok((RestoreState::InProgress(request), RestoreAnswer::Upgraded))
            } else {
                Err(RestoreRefusal::InProgress)
            }
        }
    }
}

#[test]
fn every_request_in_every_state_gets_its_answer() {
    let mut cases = 0;
    for state in all_states() {
        for class in StorageClass::ALL {
            for request in all_requests() {
                assert_eq!(
                    state.request(class, request, NOW),
                    expected(state, class, request),
                    "{state:?}, {class:?}, {request:?}"
                );
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 9 * 8 * 6);
}

#[test]
fn only_a_running_retrieval_can_be_retrieved_and_only_an_ended_copy_can_expire() {
    for state in all_states() {
        let retrieved = state.retrieved(NOW);
        let expired = state.expired(NOW);
        match state {
            RestoreState::Archived => {
                assert!(retrieved.is_err());
                assert!(expired.is_err());
            }
            RestoreState::InProgress(request) => {
                assert_eq!(
                    retrieved,
                    Ok(RestoreState::Restored {
                        until: request.days.end(NOW)
                    })
                );
                assert!(expired.is_err());
            }
            RestoreState::Restored { until } => {
                assert!(retrieved.is_err());
                assert_eq!(expired.is_ok(), until <= NOW);
            }
        }
    }
}

#[test]
fn an_object_is_readable_only_while_its_copy_lasts() {
    for state in all_states() {
        let readable = matches!(state, RestoreState::Restored { until } if until > NOW);
        assert_eq!(state.is_readable(NOW), readable, "{state:?}");
    }
}

#[test]
fn days_are_counted_to_the_midnight_after() {
    // 2012-10-15 10:30, three days: 2012-10-19 00:00.
    let from = Timestamp::from_seconds(1_350_297_000);
    assert_eq!(from.to_string(), "2012-10-15T10:30:00.000000Z");
    let days = RestoreDays::new(3).expect("three days are legal");
    assert_eq!(days.end(from).to_string(), "2012-10-19T00:00:00.000000Z");
}

#[test]
fn fewer_days_than_one_are_refused() {
    assert_eq!(RestoreDays::new(0), None);
    assert_eq!(RestoreDays::new(-1), None);
    assert_eq!(RestoreDays::new(i64::from(i32::MAX) + 1), None);
    assert_eq!(RestoreDays::new(1).map(RestoreDays::get), Some(1));
    assert_eq!(
        RestoreDays::new(i64::from(i32::MAX)).map(RestoreDays::get),
        Some(2_147_483_647)
    );
}
