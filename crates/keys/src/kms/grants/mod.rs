//! Grants: permissions that are given for a key without touching its policy.
//!
//! A grant holds from when [`Kms::create_grant`] returns, and no longer when [`Kms::revoke_grant`]
//! or [`Kms::retire_grant`] does. Its token therefore gives nothing that the grant does not: it
//! only names it.

mod permission;
mod places;

use data_encoding::BASE64URL_NOPAD;
use strongroom_meta::{Batch, Scan};

pub use self::permission::{
    Grant, GrantConstraint, GrantFilter, GrantOperation, GrantReference, NewGrant,
};
use self::places::{
    grant_in, grant_key, grantee_key, grantee_prefix, misplaced, retiring_key, retiring_prefix,
};
use super::access::{Principal, Wish};
use super::{Kms, Page};
use crate::arn::{KeyId, KeyReference};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::names::GrantId;
use crate::rows::{
    self, GRANT_COUNTS, GRANTS, GRANTS_OF, GrantCountRow, GrantRow, KeyRow, RETIRABLE_GRANTS, Read,
    RowFormat as _,
};

impl Kms {
    /// The most grants of a key.
    ///
    /// Source: AWS KMS Developer Guide, "Resource quotas".
    pub const GRANTS_MAX: u32 = 50_000;
    /// The longest name of a grant, in bytes.
    pub const GRANT_NAME_LEN_BYTES_MAX: usize = 256;
    /// How many rows are read at once where all may have to be.
    const GRANT_SCAN_ROWS: usize = 100;

    /// Makes a grant, and gives its id and a token. One of the same name and content is not made
    /// twice.
    ///
    /// Source: AWS KMS API Reference, CreateGrant.
    ///
    /// # Errors
    /// [`KeyError::InvalidPrincipal`], [`KeyError::InvalidRequest`]: the operations, the constraint
    /// or the name will not do. [`KeyError::LimitExceeded`]: the key has 50,000.
    /// [`KeyError::AccessDenied`], [`KeyError::Disabled`], [`KeyError::PendingDeletion`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn create_grant(
        &self,
        reference: &KeyReference,
        new: &NewGrant,
        caller: &Caller,
    ) -> Result<(GrantId, String), KeyError> {
        let _alone = self.administration.lock().await;
        let entry = Entry::new(Event::KeyAdministration, "create-grant");
        let (id, read) = match self.find(reference).await {
            Ok(found) => found,
            Err(error) => {
                let entry = entry.key(KeyNamed::reference(reference));
                return self.journal.settle(caller, entry, Err(error)).await;
            }
        };
        let entry = entry.key(KeyNamed::kms(&self.home.arn(id)));
        let prepared = self.prepare_grant(reference, id, &read, new, caller).await;
        let (grant, entry, prepared) = match prepared {
            Ok(Prepared::New { grant, row, batch }) => {
                let entry = entry.detail(detail(&grant, &row));
                (grant, entry, Ok(batch))
            }
            Ok(Prepared::There { grant, row }) => {
                let entry = entry.detail(detail(&grant, &row));
                return self
                    .journal
                    .settle(caller, entry, Ok((grant, self.token_of(id, grant))))
                    .await;
            }
            Err(error) => (GrantId([0; 32]), entry, Err(error)),
        };
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        Ok((grant, self.token_of(id, grant)))
    }

    async fn prepare_grant(
        &self,
        reference: &KeyReference,
        id: KeyId,
        read: &Read<KeyRow>,
        new: &NewGrant,
        caller: &Caller,
    ) -> Result<Prepared, KeyError> {
        self.check_manager(id, &read.row)?;
        let operations = new.operations.iter();
        let mut wish = Wish::to("CreateGrant")
            .reference(reference)
            .with("kms:GrantIsForAWSResource", false)
            .with("kms:GranteePrincipal", &new.grantee)
            .with_all(
                "kms:GrantOperations",
                operations.map(|operation| operation.as_str().to_owned()),
            );
        if let Some(retiring) = &new.retiring {
            wish = wish.with("kms:RetiringPrincipal", retiring);
        }
        if let Some(constraint) = &new.constraint {
            wish = wish.with("kms:GrantConstraintType", constraint.kind());
        }
        let authority = self.authorize(id, &wish, caller).await?;
        self.check_enabled(id, &read.row)?;
        let row = self.grant_row(read, new).await?;
        if let Some(parent) = authority.grant {
            let parent = self.existing_grant(id, parent).await?.row;
            let is_within = row
                .operations
                .iter()
                .all(|operation| parent.operations.contains(operation))
                && parent
                    .constraint
                    .is_none_or(|constraint| constraint.includes(row.constraint.as_ref()));
            if !is_within {
                return Err(KeyError::AccessDenied {
                    principal: Principal::arn_of(caller, &self.home),
                    action: "kms:CreateGrant".into(),
                    key: Some(self.home.arn(id)),
                    because: "because the grant that allows it allows less than the new one".into(),
                });
            }
        }
        if row.name.is_some()
            && let Some(grant) = self.same_grant(id, &row).await?
        {
            return Ok(Prepared::There { grant, row });
        }
        let count = rows::read::<GrantCountRow>(&*self.meta, GRANT_COUNTS, id.as_bytes()).await?;
        let count = count.map_or(0, |read| read.row.count);
        if count >= Self::GRANTS_MAX {
            return Err(KeyError::LimitExceeded {
                limit: "a key has at most 50000 grants",
            });
        }
        let grant = GrantId(self.entropy.array());
        let mut batch = Batch::new();
        // Of two who change a key at once one does it anew.
        Self::put_key(&mut batch, id, read, &read.row);
        rows::create(&mut batch, GRANTS, &grant_key(id, grant), &row);
        batch.put(GRANTS_OF, grantee_key(id, &row.grantee, grant), []);
        if let Some(retiring) = &row.retiring {
            batch.put(RETIRABLE_GRANTS, retiring_key(retiring, id, grant), []);
        }
        let count = GrantCountRow { count: count + 1 };
        batch.put(GRANT_COUNTS, id.as_bytes(), count.encode());
        Ok(Prepared::New { grant, row, batch })
    }

    /// The grants of a key, in the order of their ids. A `marker` is the `next` of the page before.
    ///
    /// Source: AWS KMS API Reference, ListGrants.
    ///
    /// # Errors
    /// [`KeyError::AccessDenied`], [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`];
    /// [`KeyError::InvalidPrincipal`]; [`KeyError::InvalidReference`]: no page was ever followed by
    /// that marker. [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn list_grants(
        &self,
        reference: &KeyReference,
        filter: &GrantFilter,
        marker: Option<&str>,
        limit: usize,
        caller: &Caller,
    ) -> Result<Page<Grant>, KeyError> {
        self.authorize_look(Some(reference), "ListGrants", caller)
            .await?;
        let (id, _) = self.find(reference).await?;
        let (table, prefix) = match filter {
            GrantFilter::Id(grant) => (GRANTS, grant_key(id, *grant)),
            GrantFilter::All => (GRANTS, id.as_bytes().to_vec()),
            GrantFilter::Grantee(arn) => {
                let principal = self.principal(arn)?;
                (GRANTS_OF, grantee_prefix(id, &principal.to_string()))
            }
        };
        let after = match (marker, filter) {
            (None, _) => prefix.clone(),
            (Some(_), GrantFilter::Id(_)) => return Err(wrong_marker()),
            (Some(marker), _) => {
                let grant: GrantId = marker.parse().map_err(|_| wrong_marker())?;
                [prefix.as_slice(), grant.as_bytes()].concat()
            }
        };
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let scan = Scan::within(&prefix, after, limit + 1);
        let mut found = Vec::new();
        for row in self.meta.scan(table, scan).await? {
            found.push((id, grant_in(table, &row)?));
        }
        // One row more than asked for: its id is where the next page begins.
        let next = (found.len() > limit)
            .then(|| found.pop())
            .flatten()
            .map(|(_, first)| first.to_string());
        Ok(Page {
            items: self.grants(found).await?,
            next,
        })
    }

    /// The grants that a principal may retire, of all keys. A `marker` is the `next` of the page
    /// before.
    ///
    /// Source: AWS KMS API Reference, ListRetirableGrants.
    ///
    /// # Errors
    /// As for [`Kms::list_grants`].
    pub async fn list_retirable_grants(
        &self,
        retiring: &str,
        marker: Option<&str>,
        limit: usize,
        caller: &Caller,
    ) -> Result<Page<Grant>, KeyError> {
        let principal = self.principal(retiring)?;
        // Whoever may retire grants may see which.
        if !Principal::all_of(caller).contains(&principal) {
            self.authorize_look(None, "ListRetirableGrants", caller)
                .await?;
        }
        let prefix = retiring_prefix(&principal.to_string());
        let after = match marker {
            None => prefix.clone(),
            Some(marker) => {
                let place = BASE64URL_NOPAD.decode(marker.as_bytes());
                let place = place.map_err(|_| wrong_marker())?;
                if place.len() != ID_LEN_BYTES + GrantId::LEN_BYTES {
                    return Err(wrong_marker());
                }
                [prefix.as_slice(), &place].concat()
            }
        };
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let scan = Scan::within(&prefix, after, limit + 1);
        let mut found = Vec::new();
        for row in self.meta.scan(RETIRABLE_GRANTS, scan).await? {
            let grant = grant_in(RETIRABLE_GRANTS, &row)?;
            let key = row.key.get(prefix.len()..prefix.len() + ID_LEN_BYTES);
            let key = key.and_then(|key| key.try_into().ok());
            let key = key.ok_or(misplaced(RETIRABLE_GRANTS))?;
            found.push((KeyId::from_bytes(key), grant));
        }
        let next = (found.len() > limit).then(|| found.pop()).flatten().map(
            |(key, grant): (KeyId, GrantId)| {
                BASE64URL_NOPAD.encode(&[&key.as_bytes()[..], grant.as_bytes()].concat())
            },
        );
        Ok(Page {
            items: self.grants(found).await?,
            next,
        })
    }

    /// Takes a grant away, against the will of who has it.
    ///
    /// Source: AWS KMS API Reference, RevokeGrant.
    ///
    /// # Errors
    /// [`KeyError::NoSuchGrant`], [`KeyError::AccessDenied`], [`KeyError::ManagedByService`], and
    /// as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn revoke_grant(
        &self,
        reference: &KeyReference,
        grant: GrantId,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let named = self.find(reference).await;
        let entry = self.ending("revoke-grant", named.as_ref().ok(), Some(grant));
        let entry = match &named {
            Ok(_) => entry,
            Err(_) => entry.key(KeyNamed::reference(reference)),
        };
        let prepared = async {
            let (id, read) = named?;
            self.check_manager(id, &read.row)?;
            let wish = Wish::to("RevokeGrant")
                .reference(reference)
                .with("kms:GrantIsForAWSResource", false);
            self.authorize(id, &wish, caller).await?;
            self.without_grant(id, grant).await
        }
        .await;
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// Takes a grant away because it is no longer needed: for its retiring principal, for its
    /// grantee if it allows that, and for whom the role allows it.
    ///
    /// Source: AWS KMS API Reference, RetireGrant.
    ///
    /// # Errors
    /// [`KeyError::InvalidGrantToken`], and as for [`Kms::revoke_grant`].
    pub async fn retire_grant(
        &self,
        named: &GrantReference,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let place = match named {
            GrantReference::Token(token) => read_token(token).map(|(id, grant)| (id.into(), grant)),
            GrantReference::Id(key, grant) => Ok((key.clone(), *grant)),
        };
        let (reference, grant) = match place {
            Ok((reference, grant)) => (Some(reference), Ok(grant)),
            Err(error) => (None, Err(error)),
        };
        let found = match &reference {
            Some(reference) => Some(self.find(reference).await),
            None => None,
        };
        let read = found.as_ref().and_then(|found| found.as_ref().ok());
        let mut entry = self.ending("retire-grant", read, grant.as_ref().ok().copied());
        if let (Some(Err(_)), Some(reference)) = (&found, &reference) {
            entry = entry.key(KeyNamed::reference(reference));
        }
        let prepared = async {
            let grant = grant?;
            let id = match found {
                Some(Ok((id, _))) => id,
                Some(Err(error)) => return Err(error),
                None => return Err(KeyError::InvalidGrantToken),
            };
            let row = match (self.existing_grant(id, grant).await, named) {
                (Err(KeyError::NoSuchGrant { .. }), GrantReference::Token(_)) => {
                    return Err(KeyError::InvalidGrantToken);
                }
                (found, _) => found?.row,
            };
            self.check_retires(id, &row, caller)?;
            self.without_grant(id, grant).await
        }
        .await;
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// Checks that a token is one of a grant that there is.
    ///
    /// # Errors
    /// [`KeyError::InvalidGrantToken`], [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn check_grant_token(&self, token: &str) -> Result<(), KeyError> {
        let (id, grant) = read_token(token)?;
        match self.existing_grant(id, grant).await {
            Err(KeyError::NoSuchGrant { .. }) => Err(KeyError::InvalidGrantToken),
            other => other.map(drop),
        }
    }

    /// A grant by which one of `grantees` may do what is wished for.
    pub(super) async fn granted(
        &self,
        id: KeyId,
        wish: &Wish<'_>,
        grantees: &[Principal],
    ) -> Result<Option<GrantId>, KeyError> {
        let Some(operation) = GrantOperation::named(wish.action) else {
            return Ok(None);
        };
        let empty = EncryptionContext::empty();
        let context = wish.context.unwrap_or(&empty);
        for grantee in grantees {
            let prefix = grantee_prefix(id, &grantee.to_string());
            let mut start = prefix.clone();
            loop {
                let scan = Scan::within(&prefix, start, Self::GRANT_SCAN_ROWS);
                let found = self.meta.scan(GRANTS_OF, scan).await?;
                for row in &found {
                    let grant = grant_in(GRANTS_OF, row)?;
                    let read = self.grant(id, grant).await?;
                    let allows = read.is_some_and(|read| {
                        read.row.operations.contains(&operation)
                            && (!operation.has_context()
                                || read
                                    .row
                                    .constraint
                                    .is_none_or(|constraint| constraint.allows(context)))
                    });
                    if allows {
                        return Ok(Some(grant));
                    }
                }
                match found.last() {
                    Some(last) if found.len() == Self::GRANT_SCAN_ROWS => {
                        start = [&last.key[..], &[0]].concat();
                    }
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// The row that a new grant will have.
    async fn grant_row(&self, read: &Read<KeyRow>, new: &NewGrant) -> Result<GrantRow, KeyError> {
        let usage = Self::facts_of(&read.row).usage;
        let spec = Self::facts_of(&read.row).spec;
        if new.operations.is_empty() {
            return Err(KeyError::InvalidRequest {
                rule: "a grant allows at least one operation",
            });
        }
        if !new
            .operations
            .iter()
            .all(|operation| operation.is_of(usage))
        {
            return Err(KeyError::InvalidRequest {
                rule: "a grant allows operations that its key has",
            });
        }
        if let Some(constraint) = &new.constraint {
            constraint.check()?;
            if spec != "SYMMETRIC_DEFAULT" {
                return Err(KeyError::InvalidRequest {
                    rule: "only a grant of a key for symmetric encryption has constraints",
                });
            }
        }
        if let Some(name) = &new.name {
            let allowed = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'_' | b'-')
            };
            if !(1..=Self::GRANT_NAME_LEN_BYTES_MAX).contains(&name.len())
                || !name.bytes().all(allowed)
            {
                return Err(KeyError::InvalidRequest {
                    rule: "the name of a grant has 1 to 256 letters, digits, ':', '/', '_' and '-'",
                });
            }
        }
        let mut operations = new.operations.clone();
        operations.sort_unstable();
        operations.dedup();
        Ok(GrantRow {
            created: self.clock.now(),
            operations,
            constraint: new.constraint.clone(),
            grantee: self.principal_there(&new.grantee).await?,
            retiring: match &new.retiring {
                Some(retiring) => Some(self.principal_there(retiring).await?),
                None => None,
            },
            name: new.name.clone(),
        })
    }

    /// The grant of a key that is the same but for when it was made.
    async fn same_grant(&self, id: KeyId, row: &GrantRow) -> Result<Option<GrantId>, KeyError> {
        let prefix = grantee_prefix(id, &row.grantee);
        let mut start = prefix.clone();
        loop {
            let scan = Scan::within(&prefix, start, Self::GRANT_SCAN_ROWS);
            let found = self.meta.scan(GRANTS_OF, scan).await?;
            for place in &found {
                let grant = grant_in(GRANTS_OF, place)?;
                if let Some(read) = self.grant(id, grant).await? {
                    let of_then = GrantRow {
                        created: row.created,
                        ..read.row
                    };
                    if of_then == *row {
                        return Ok(Some(grant));
                    }
                }
            }
            match found.last() {
                Some(last) if found.len() == Self::GRANT_SCAN_ROWS => {
                    start = [&last.key[..], &[0]].concat();
                }
                _ => return Ok(None),
            }
        }
    }

    fn check_retires(&self, id: KeyId, row: &GrantRow, caller: &Caller) -> Result<(), KeyError> {
        let is_one_of = |name: &str| {
            Principal::all_of(caller)
                .iter()
                .any(|principal| principal.to_string() == name)
        };
        let by_account = self.check_role("RetireGrant", caller);
        // A name of the account is as good as the role.
        let is_closer = |name: &str| name != "root" && is_one_of(name);
        if row.retiring.as_deref().is_some_and(is_closer)
            || row.operations.contains(&GrantOperation::RetireGrant) && is_closer(&row.grantee)
        {
            return Ok(());
        }
        by_account.map_err(|_| KeyError::AccessDenied {
            principal: Principal::arn_of(caller, &self.home),
            action: "kms:RetireGrant".into(),
            key: Some(self.home.arn(id)),
            because: "because the grant does not name who may retire it so".into(),
        })
    }

    /// What takes a grant away.
    async fn without_grant(&self, id: KeyId, grant: GrantId) -> Result<Batch, KeyError> {
        let read = self.existing_grant(id, grant).await?;
        let count = rows::read::<GrantCountRow>(&*self.meta, GRANT_COUNTS, id.as_bytes()).await?;
        let count = count.map_or(0, |read| read.row.count).saturating_sub(1);
        let mut batch = Batch::new();
        read.delete(&mut batch, GRANTS, &grant_key(id, grant));
        batch.delete(GRANTS_OF, grantee_key(id, &read.row.grantee, grant));
        if let Some(retiring) = &read.row.retiring {
            batch.delete(RETIRABLE_GRANTS, retiring_key(retiring, id, grant));
        }
        batch.put(
            GRANT_COUNTS,
            id.as_bytes(),
            GrantCountRow { count }.encode(),
        );
        Ok(batch)
    }

    async fn grant(&self, id: KeyId, grant: GrantId) -> Result<Option<Read<GrantRow>>, KeyError> {
        rows::read(&*self.meta, GRANTS, &grant_key(id, grant)).await
    }

    async fn existing_grant(&self, id: KeyId, grant: GrantId) -> Result<Read<GrantRow>, KeyError> {
        self.grant(id, grant)
            .await?
            .ok_or(KeyError::NoSuchGrant { id: grant })
    }

    /// The grants at these places, but for those that were taken away meanwhile, and those of keys
    /// that were destroyed.
    async fn grants(&self, places: Vec<(KeyId, GrantId)>) -> Result<Vec<Grant>, KeyError> {
        let mut grants = Vec::with_capacity(places.len());
        for (key, id) in places {
            match self.find(&KeyReference::Id(key)).await {
                Ok(_) => {}
                Err(KeyError::NoSuchKey { .. }) => continue,
                Err(error) => return Err(error),
            }
            if let Some(read) = self.grant(key, id).await? {
                let arn =
                    |resource: String| format!("arn:aws:iam::{}:{resource}", self.home.account);
                grants.push(Grant {
                    id,
                    key: self.home.arn(key),
                    created: read.row.created,
                    grantee: arn(read.row.grantee),
                    retiring: read.row.retiring.map(arn),
                    operations: read.row.operations,
                    constraint: read.row.constraint,
                    name: read.row.name,
                });
            }
        }
        Ok(grants)
    }

    fn principal(&self, arn: &str) -> Result<Principal, KeyError> {
        Principal::parse(arn, &self.home).ok_or_else(|| KeyError::InvalidPrincipal {
            why: format!("{arn} is no principal of this account"),
        })
    }

    /// The resource of the ARN of a principal that there is.
    async fn principal_there(&self, arn: &str) -> Result<String, KeyError> {
        let principal = self.principal(arn)?;
        self.check_there(&principal)
            .await?
            .map_err(|why| KeyError::InvalidPrincipal { why })?;
        Ok(principal.to_string())
    }

    fn token_of(&self, id: KeyId, grant: GrantId) -> String {
        let bytes = Encoder::new(TOKEN_VERSION)
            .fixed(id.as_bytes())
            .fixed(grant.as_bytes())
            .fixed(&self.entropy.array::<8>())
            .finish();
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn ending(
        &self,
        act: &'static str,
        found: Option<&(KeyId, Read<KeyRow>)>,
        grant: Option<GrantId>,
    ) -> Entry<'static> {
        let mut entry = Entry::new(Event::KeyAdministration, act);
        if let Some((id, _)) = found {
            entry = entry.key(KeyNamed::kms(&self.home.arn(*id)));
        }
        if let Some(grant) = grant {
            entry = entry.detail(serde_json::json!({ "grant": grant.to_string() }));
        }
        entry
    }
}

/// What comes of a request for a grant.
enum Prepared {
    New {
        grant: GrantId,
        row: GrantRow,
        batch: Batch,
    },
    /// It was made before.
    There { grant: GrantId, row: GrantRow },
}

const TOKEN_VERSION: u8 = 1;
const ID_LEN_BYTES: usize = 16;

fn read_token(token: &str) -> Result<(KeyId, GrantId), KeyError> {
    let read = || {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let mut fields = Decoder::new(&bytes, TOKEN_VERSION)?;
        let place = (KeyId::from_bytes(fields.fixed()?), GrantId(fields.fixed()?));
        fields.fixed::<8>()?;
        fields.finish(place)
    };
    read().ok_or(KeyError::InvalidGrantToken)
}

fn wrong_marker() -> KeyError {
    KeyError::InvalidReference {
        rule: "a marker is one that a page of the same list gave",
    }
}

fn detail(grant: &GrantId, row: &GrantRow) -> serde_json::Value {
    let operations: Vec<&str> = row
        .operations
        .iter()
        .map(|operation| operation.as_str())
        .collect();
    serde_json::json!({
        "grant": grant.to_string(),
        "grantee": row.grantee,
        "operations": operations,
    })
}
