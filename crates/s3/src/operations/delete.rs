//! Deleting objects and versions.

use http::{HeaderName, HeaderValue, StatusCode};
use strongroom_store::{DeleteRequest, Deleted, ETag, ETagCondition, ObjectRef, StoreError};

use crate::answer::Answer;
use crate::call::{Call, object_key, version_selector};
use crate::documents::{ObjectToDelete, objects_to_delete};
use crate::faults::Subject;
use crate::headers::write_conditions;
use crate::refusal::{Outcome, Refusal};
use crate::xml::{NAMESPACE, Writer};

pub(super) async fn delete_object(mut call: Call) -> Outcome<Answer> {
    let object = call.object()?;
    let conditions = delete_condition(&call)?;
    let request = DeleteRequest {
        object,
        if_match: conditions,
    };
    let deleted = call
        .store()
        .delete(request, &call.caller)
        .await
        .map_err(|error| call.refusal(&error))?;
    let mut answer = Answer::status(StatusCode::NO_CONTENT);
    answer.set_version(deleted.version);
    if deleted.delete_marker {
        answer.headers.insert(
            HeaderName::from_static("x-amz-delete-marker"),
            HeaderValue::from_static("true"),
        );
    }
    Ok(answer)
}

fn delete_condition(call: &Call) -> Outcome<Option<ETagCondition>> {
    if call
        .headers
        .get("if-match")
        .is_some_and(|value| value == "*")
    {
        return Ok(Some(ETagCondition::Any));
    }
    if call.headers.contains_key("if-none-match") {
        return Err(Refusal::header_not_implemented("If-None-Match"));
    }
    Ok(write_conditions(&call.headers)?.if_match)
}

/// What became of one object of a request for many.
enum Fate {
    Deleted(Deleted),
    Refused(Refusal),
}

pub(super) async fn delete_objects(mut call: Call) -> Outcome<Answer> {
    let bucket = call.bucket()?;
    call.require_digest()?;
    let document = call.document().await?;
    let named = objects_to_delete(&document)?;
    // A bucket that is not there is told once, not for each of its objects.
    call.store()
        .bucket(&bucket)
        .await
        .map_err(|error| call.refusal(&error))?;
    let read = |named: &ObjectToDelete| -> Outcome<DeleteRequest> {
        Ok(DeleteRequest {
            object: ObjectRef {
                bucket: bucket.clone(),
                key: object_key(&named.key)?,
                version: version_selector(named.version_id.as_deref())?,
            },
            if_match: named.etag.as_deref().map(|etag| match etag {
                "*" => ETagCondition::Any,
                etag => ETagCondition::OneOf(ETag::parse(etag).into_iter().collect()),
            }),
        })
    };
    let mut fates: Vec<Option<Fate>> = Vec::with_capacity(named.objects.len());
    let mut requests = Vec::new();
    for object in &named.objects {
        match read(object) {
            Ok(request) => {
                requests.push(request);
                fates.push(None);
            }
            Err(refusal) => fates.push(Some(Fate::Refused(refusal))),
        }
    }
    let deletions = call.store().delete_many(requests, &call.caller).await;
    let mut deletions = deletions.into_iter();
    let mut xml = Writer::document("DeleteResult", Some(NAMESPACE));
    for (object, fate) in named.objects.iter().zip(fates) {
        let fate = fate.or_else(|| {
            deletions
                .next()
                .map(|deletion| fate_of(&call, object, deletion))
        });
        match fate {
            Some(Fate::Deleted(deleted)) if !named.quiet => {
                xml.element("Deleted", |xml| write_deleted(xml, object, deleted));
            }
            Some(Fate::Refused(refusal)) => {
                xml.element("Error", |xml| {
                    xml.text("Key", &object.key);
                    xml.optional("VersionId", object.version_id.as_deref());
                    xml.text("Code", refusal.code().as_str());
                    xml.text("Message", refusal.message());
                });
            }
            Some(Fate::Deleted(_)) | None => {}
        }
    }
    Ok(Answer::document(xml.finish()))
}

fn fate_of(call: &Call, object: &ObjectToDelete, deletion: Result<Deleted, StoreError>) -> Fate {
    match deletion {
        Ok(deleted) => Fate::Deleted(deleted),
        Err(error) => {
            let subject = Subject {
                key: object.key.clone(),
                version_id: object.version_id.clone(),
                ..call.subject.clone()
            };
            Fate::Refused(subject.refusal(&error))
        }
    }
}

fn write_deleted(xml: &mut Writer, object: &ObjectToDelete, deleted: Deleted) {
    xml.text("Key", &object.key);
    xml.optional("VersionId", object.version_id.as_deref());
    if deleted.delete_marker {
        xml.text("DeleteMarker", "true");
        if let Some(version) = deleted.version {
            xml.display("DeleteMarkerVersionId", version);
        }
    }
}
