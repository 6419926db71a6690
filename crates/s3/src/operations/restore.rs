//! Restores of archived objects.

use http::StatusCode;
use strongroom_lifecycle::RestoreOutcome;

use crate::answer::Answer;
use crate::call::Call;
use crate::documents::restore_request;
use crate::refusal::Outcome;

pub(super) async fn restore(mut call: Call) -> Outcome<Answer> {
    let object = call.object()?;
    let document = call.document().await?;
    let requested = restore_request(&document)?;
    let outcome = call
        .lifecycle()
        .restore(&object, requested.days, requested.tier, &call.caller)
        .await
        .map_err(|error| call.lifecycle_refusal(&error))?;
    Ok(Answer::status(match outcome {
        RestoreOutcome::Started => StatusCode::ACCEPTED,
        RestoreOutcome::AlreadyRestored { .. } => StatusCode::OK,
    }))
}
