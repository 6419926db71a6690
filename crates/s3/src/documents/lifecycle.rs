//! The document of lifecycle rules, both ways.

use strongroom_lifecycle::rules::{
    RequestedAbort, RequestedAnd, RequestedConfiguration, RequestedExpiration, RequestedFilter,
    RequestedNoncurrentExpiration, RequestedNoncurrentTransition, RequestedRule,
    RequestedTransition, RuleDate, Tag,
};

use crate::dates::xml_date;
use crate::refusal::{Code, Outcome, Refusal};
use crate::xml::{Element, NAMESPACE, Writer};

/// Reads a `LifecycleConfiguration`; whether it makes sense is for its own room to say.
pub(crate) fn lifecycle_configuration(
    document: &[u8],
    minimum: Option<&str>,
) -> Outcome<RequestedConfiguration> {
    let mut root = Element::parse(document, "LifecycleConfiguration")?;
    let rules = each(&mut root, "Rule", rule)?;
    root.end()?;
    Ok(RequestedConfiguration {
        rules,
        transition_default_minimum_object_size: minimum.map(str::to_owned),
    })
}

fn each<T>(parent: &mut Element, name: &str, read: fn(Element) -> Outcome<T>) -> Outcome<Vec<T>> {
    parent.all(name).into_iter().map(read).collect()
}

fn rule(mut rule: Element) -> Outcome<RequestedRule> {
    let read = RequestedRule {
        id: rule.optional_text("ID")?,
        status: rule.required_text("Status")?,
        prefix: rule.optional_text("Prefix")?,
        filter: rule.optional("Filter")?.map(filter).transpose()?,
        transitions: each(&mut rule, "Transition", transition)?,
        expiration: rule.optional("Expiration")?.map(expiration).transpose()?,
        noncurrent_version_transitions: each(
            &mut rule,
            "NoncurrentVersionTransition",
            noncurrent_transition,
        )?,
        noncurrent_version_expiration: rule
            .optional("NoncurrentVersionExpiration")?
            .map(noncurrent_expiration)
            .transpose()?,
        abort_incomplete_multipart_upload: rule
            .optional("AbortIncompleteMultipartUpload")?
            .map(abort)
            .transpose()?,
    };
    rule.end()?;
    Ok(read)
}

fn filter(mut filter: Element) -> Outcome<RequestedFilter> {
    let read = RequestedFilter {
        prefix: filter.optional_text("Prefix")?,
        tag: filter.optional("Tag")?.map(tag).transpose()?,
        object_size_greater_than: filter.optional_value("ObjectSizeGreaterThan")?,
        object_size_less_than: filter.optional_value("ObjectSizeLessThan")?,
        and: filter.optional("And")?.map(and).transpose()?,
    };
    filter.end()?;
    Ok(read)
}

fn and(mut and: Element) -> Outcome<RequestedAnd> {
    let read = RequestedAnd {
        prefix: and.optional_text("Prefix")?,
        tags: each(&mut and, "Tag", tag)?,
        object_size_greater_than: and.optional_value("ObjectSizeGreaterThan")?,
        object_size_less_than: and.optional_value("ObjectSizeLessThan")?,
    };
    and.end()?;
    Ok(read)
}

fn tag(mut tag: Element) -> Outcome<Tag> {
    let read = Tag {
        key: tag.required_text("Key")?,
        value: tag.required_text("Value")?,
    };
    tag.end()?;
    Ok(read)
}

fn date(parent: &mut Element) -> Outcome<Option<RuleDate>> {
    parent
        .optional_text("Date")?
        .map(|text| RuleDate::parse(text.trim()).ok_or_else(|| Refusal::new(Code::MalformedXml)))
        .transpose()
}

fn transition(mut transition: Element) -> Outcome<RequestedTransition> {
    let read = RequestedTransition {
        days: transition.optional_value("Days")?,
        date: date(&mut transition)?,
        storage_class: transition.optional_text("StorageClass")?,
    };
    transition.end()?;
    Ok(read)
}

fn expiration(mut expiration: Element) -> Outcome<RequestedExpiration> {
    let read = RequestedExpiration {
        days: expiration.optional_value("Days")?,
        date: date(&mut expiration)?,
        expired_object_delete_marker: expiration.optional_value("ExpiredObjectDeleteMarker")?,
    };
    expiration.end()?;
    Ok(read)
}

fn noncurrent_transition(mut transition: Element) -> Outcome<RequestedNoncurrentTransition> {
    let read = RequestedNoncurrentTransition {
        noncurrent_days: transition.optional_value("NoncurrentDays")?,
        newer_noncurrent_versions: transition.optional_value("NewerNoncurrentVersions")?,
        storage_class: transition.optional_text("StorageClass")?,
    };
    transition.end()?;
    Ok(read)
}

fn noncurrent_expiration(mut expiration: Element) -> Outcome<RequestedNoncurrentExpiration> {
    let read = RequestedNoncurrentExpiration {
        noncurrent_days: expiration.optional_value("NoncurrentDays")?,
        newer_noncurrent_versions: expiration.optional_value("NewerNoncurrentVersions")?,
    };
    expiration.end()?;
    Ok(read)
}

fn abort(mut abort: Element) -> Outcome<RequestedAbort> {
    let read = RequestedAbort {
        days_after_initiation: abort.optional_value("DaysAfterInitiation")?,
    };
    abort.end()?;
    Ok(read)
}

/// Writes a `LifecycleConfiguration`.
pub(crate) fn write_lifecycle_configuration(configuration: &RequestedConfiguration) -> Vec<u8> {
    let mut xml = Writer::document("LifecycleConfiguration", Some(NAMESPACE));
    for rule in &configuration.rules {
        xml.element("Rule", |xml| write_rule(xml, rule));
    }
    xml.finish()
}

fn write_rule(xml: &mut Writer, rule: &RequestedRule) {
    xml.optional("ID", rule.id.as_deref());
    xml.optional("Prefix", rule.prefix.as_deref());
    xml.text("Status", &rule.status);
    if let Some(filter) = &rule.filter {
        xml.element("Filter", |xml| write_filter(xml, filter));
    }
    for transition in &rule.transitions {
        xml.element("Transition", |xml| {
            number(xml, "Days", transition.days);
            write_date(xml, transition.date);
            xml.optional("StorageClass", transition.storage_class.as_deref());
        });
    }
    if let Some(expiration) = &rule.expiration {
        xml.element("Expiration", |xml| {
            number(xml, "Days", expiration.days);
            write_date(xml, expiration.date);
            number(
                xml,
                "ExpiredObjectDeleteMarker",
                expiration.expired_object_delete_marker,
            );
        });
    }
    for transition in &rule.noncurrent_version_transitions {
        xml.element("NoncurrentVersionTransition", |xml| {
            number(xml, "NoncurrentDays", transition.noncurrent_days);
            number(
                xml,
                "NewerNoncurrentVersions",
                transition.newer_noncurrent_versions,
            );
            xml.optional("StorageClass", transition.storage_class.as_deref());
        });
    }
    if let Some(expiration) = &rule.noncurrent_version_expiration {
        xml.element("NoncurrentVersionExpiration", |xml| {
            number(xml, "NoncurrentDays", expiration.noncurrent_days);
            number(
                xml,
                "NewerNoncurrentVersions",
                expiration.newer_noncurrent_versions,
            );
        });
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload {
        xml.element("AbortIncompleteMultipartUpload", |xml| {
            number(xml, "DaysAfterInitiation", abort.days_after_initiation);
        });
    }
}

fn write_filter(xml: &mut Writer, filter: &RequestedFilter) {
    xml.optional("Prefix", filter.prefix.as_deref());
    if let Some(tag) = &filter.tag {
        write_tag(xml, tag);
    }
    number(
        xml,
        "ObjectSizeGreaterThan",
        filter.object_size_greater_than,
    );
    number(xml, "ObjectSizeLessThan", filter.object_size_less_than);
    if let Some(and) = &filter.and {
        xml.element("And", |xml| {
            xml.optional("Prefix", and.prefix.as_deref());
            for tag in &and.tags {
                write_tag(xml, tag);
            }
            number(xml, "ObjectSizeGreaterThan", and.object_size_greater_than);
            number(xml, "ObjectSizeLessThan", and.object_size_less_than);
        });
    }
}

fn write_tag(xml: &mut Writer, tag: &Tag) {
    xml.element("Tag", |xml| {
        xml.text("Key", &tag.key).text("Value", &tag.value);
    });
}

fn number(xml: &mut Writer, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        xml.display(name, value);
    }
}

fn write_date(xml: &mut Writer, date: Option<RuleDate>) {
    if let Some(RuleDate(moment)) = date {
        xml.text("Date", &xml_date(moment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &str = "<LifecycleConfiguration>\
        <Rule><ID>all</ID><Status>Enabled</Status><Filter><And><Prefix>a&amp;</Prefix>\
        <Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>\
        <ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>\
        <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>\
        <Transition><Date>2026-01-01T00:00:00.000Z</Date><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>\
        <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
        <NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays>\
        <NewerNoncurrentVersions>2</NewerNoncurrentVersions><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>\
        <NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration>\
        <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
        </Rule>\
        <Rule><Prefix>old</Prefix><Status>Disabled</Status><Expiration><Days>5</Days></Expiration></Rule>\
        <Rule><Status>Enabled</Status><Filter><Tag><Key>k</Key><Value/></Tag></Filter></Rule>\
        </LifecycleConfiguration>";

    #[test]
    fn every_member_is_read_and_written_back() {
        let read = lifecycle_configuration(EVERYTHING.as_bytes(), Some("varies_by_storage_class"))
            .unwrap();
        assert_eq!(read.rules.len(), 3);
        assert_eq!(read.rules[0].transitions.len(), 2);
        assert_eq!(
            read.transition_default_minimum_object_size.as_deref(),
            Some("varies_by_storage_class")
        );
        let written = write_lifecycle_configuration(&read);
        let again = lifecycle_configuration(&written, Some("varies_by_storage_class")).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn a_member_that_is_not_understood_is_an_error() {
        for bad in [
            "<LifecycleConfiguration><Rule><Status>Enabled</Status><Unknown/></Rule></LifecycleConfiguration>",
            "<LifecycleConfiguration><Rule><ID>x</ID></Rule></LifecycleConfiguration>",
            "<LifecycleConfiguration><Other/></LifecycleConfiguration>",
            "<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>soon</Days></Expiration></Rule></LifecycleConfiguration>",
            "<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Date>soon</Date></Expiration></Rule></LifecycleConfiguration>",
            "<LifecycleConfiguration><Rule><Status>Enabled</Status><Status>Enabled</Status></Rule></LifecycleConfiguration>",
        ] {
            let refused = lifecycle_configuration(bad.as_bytes(), None).unwrap_err();
            assert_eq!(refused.code(), Code::MalformedXml, "{bad}");
        }
    }
}
