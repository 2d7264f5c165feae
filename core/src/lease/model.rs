//! Every interleaving of two owners, one of whom may be paused at any step and robbed once: no stale write is ever read.
//!
//! The database is modelled document by document, as MongoDB behaves: neither the fence's `updateMany` nor a read of the
//! whole state is atomic. What a write may touch and a read may see is decided by the stores' own rules
//! ([`Tenure::may_write`], [`Tenure::sees`]). A search that finds nothing proves nothing unless it finds something
//! once a rule is broken: so each rule is broken in turn.

use std::collections::HashSet;

use crate::store::Tenure;

/// Documents of one session. The last two are not there at the start: a stale owner may insert them.
const DOCUMENTS: usize = 3;
const THERE_AT_FIRST: usize = 1;

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// A steal raises no document's generation.
    NoFence,
    /// Reads see documents below the fence.
    ReadsIgnoreFence,
    /// Writes are accepted whatever the generation of the document.
    WritesIgnoreGeneration,
    /// The state is read before it is fenced.
    FenceAfterRead,
}

/// A stored document: who wrote it, in which tenure, as which of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Document {
    generation: u64,
    value: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LeaseRow {
    owner: Option<usize>,
    generation: u64,
    fence: u64,
    expired: bool,
}

/// What an owner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Acquire,
    Fence(usize),
    Read(usize),
    Write(usize),
    Check(usize),
    Release,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    step: Step,
    tenure: Tenure,
    stole: bool,
    /// What it believes is stored; `None` until it has read.
    view: [Option<Option<u8>>; DOCUMENTS],
    writes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    documents: [Option<Document>; DOCUMENTS],
    /// The last value of each document that was accepted before the steal: it must not be lost.
    accepted_before: [Option<u8>; DOCUMENTS],
    lease: LeaseRow,
    stolen: bool,
    owners: [Owner; 2],
}

impl World {
    fn new() -> Self {
        let mut documents = [None; DOCUMENTS];
        for (at, document) in documents.iter_mut().enumerate().take(THERE_AT_FIRST) {
            *document = Some(Document { generation: 0, value: 100 + at as u8 });
        }
        let owner = Owner {
            step: Step::Acquire,
            tenure: Tenure { generation: 0, fence: 0 },
            stole: false,
            view: [None; DOCUMENTS],
            writes: 0,
        };
        Self {
            accepted_before: documents.map(|document| document.map(|document| document.value)),
            documents,
            lease: LeaseRow { owner: None, generation: 0, fence: 0, expired: false },
            stolen: false,
            owners: [owner; 2],
        }
    }

    fn seen(&self, tenure: Tenure, at: usize, mutant: Mutant) -> Option<u8> {
        self.documents[at]
            .filter(|document| mutant == Mutant::ReadsIgnoreFence || tenure.sees(document.generation))
            .map(|document| document.value)
    }

    /// One step of one owner. `Err` names the rule that the outcome breaks.
    fn step(&mut self, who: usize, mutant: Mutant) -> Result<(), &'static str> {
        let mut owner = self.owners[who];
        let (first, then) = match mutant {
            Mutant::FenceAfterRead => (Step::Read(0), Step::Fence(0)),
            _ => (Step::Fence(0), Step::Read(0)),
        };
        match owner.step {
            Step::Acquire => {
                let held = self.lease.owner.is_some_and(|holder| holder != who);
                if held && !self.lease.expired {
                    // It stands by and looks again.
                    return Ok(());
                }
                owner.stole = held;
                self.lease.generation += 1;
                if held {
                    self.lease.fence = self.lease.generation;
                    self.stolen = true;
                }
                self.lease = LeaseRow { owner: Some(who), expired: false, ..self.lease };
                owner.tenure = Tenure { generation: self.lease.generation, fence: self.lease.fence };
                owner.step = if owner.stole { first } else { Step::Read(0) };
            }
            Step::Fence(at) => {
                if mutant != Mutant::NoFence
                    && let Some(document) = &mut self.documents[at]
                    && document.generation < owner.tenure.generation
                {
                    document.generation = owner.tenure.generation;
                }
                owner.step = match (at + 1 < DOCUMENTS, mutant) {
                    (true, _) => Step::Fence(at + 1),
                    (false, Mutant::FenceAfterRead) => Step::Write(0),
                    (false, _) => then,
                };
            }
            Step::Read(at) => {
                let seen = self.seen(owner.tenure, at, mutant);
                if self.accepted_before[at].is_some() && seen.is_none() {
                    return Err("a value that was stored before the steal is lost");
                }
                owner.view[at] = Some(seen);
                owner.step = match (at + 1 < DOCUMENTS, mutant) {
                    (true, _) => Step::Read(at + 1),
                    (false, Mutant::FenceAfterRead) if owner.stole => then,
                    (false, _) => Step::Write(0),
                };
            }
            Step::Write(at) => {
                let may = self.documents[at]
                    .is_none_or(|document| owner.tenure.may_write(document.generation))
                    || mutant == Mutant::WritesIgnoreGeneration;
                if !may {
                    // Conflict: it stops at once and writes nothing more.
                    owner.step = Step::Ended;
                } else {
                    owner.writes += 1;
                    let value = (who as u8 + 1) * 10 + owner.writes;
                    self.documents[at] = Some(Document { generation: owner.tenure.generation, value });
                    owner.view[at] = Some(Some(value));
                    if !self.stolen {
                        self.accepted_before[at] = Some(value);
                    }
                    owner.step = if at + 1 < DOCUMENTS { Step::Write(at + 1) } else { Step::Check(0) };
                }
            }
            Step::Check(at) => {
                owner.step = if at + 1 < DOCUMENTS { Step::Check(at + 1) } else { Step::Release };
            }
            Step::Release => {
                if self.lease.owner == Some(who) && self.lease.generation == owner.tenure.generation {
                    self.lease.owner = None;
                }
                owner.step = Step::Ended;
            }
            Step::Ended => {}
        }
        self.owners[who] = owner;
        self.owner_reads_its_own(mutant)
    }

    /// Whoever holds the lease now reads what he last read or wrote, at any moment: nothing stale came in between.
    fn owner_reads_its_own(&self, mutant: Mutant) -> Result<(), &'static str> {
        let Some(holder) = self.lease.owner else { return Ok(()) };
        let owner = &self.owners[holder];
        if owner.tenure.generation != self.lease.generation {
            return Ok(());
        }
        for at in 0..DOCUMENTS {
            if let Some(view) = owner.view[at]
                && self.seen(owner.tenure, at, mutant) != view
            {
                return Err("a stale write is read");
            }
        }
        Ok(())
    }
}

/// Searches everything that can happen. The number of states, or the first violation with the way to it.
fn search(mutant: Mutant) -> Result<usize, (String, Vec<String>)> {
    let mut seen = HashSet::new();
    let mut open = vec![(World::new(), Vec::<String>::new())];
    while let Some((world, way)) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        for who in 0..2 {
            let mut next = world.clone();
            let taken = format!("owner {who}: {:?}", world.owners[who].step);
            let outcome = next.step(who, mutant);
            let way = way.iter().cloned().chain([taken]).collect::<Vec<_>>();
            match outcome {
                Err(broken) => return Err((broken.to_owned(), way)),
                Ok(()) if next != world => open.push((next, way)),
                Ok(()) => {}
            }
        }
        if world.lease.owner.is_some() && !world.lease.expired && !world.stolen {
            let mut next = world.clone();
            next.lease.expired = true;
            open.push((next, way.iter().cloned().chain(["the lease runs out".to_owned()]).collect()));
        }
    }
    Ok(seen.len())
}

#[test]
fn no_interleaving_lets_a_stale_write_be_read_or_a_stored_value_be_lost() {
    match search(Mutant::None) {
        Ok(states) => assert!(states > 1_000, "only {states} states were searched"),
        Err((broken, way)) => panic!("{broken}, after {way:#?}"),
    }
}

#[test]
fn each_rule_is_needed() {
    for (mutant, what) in [
        (Mutant::NoFence, "a value that was stored before the steal is lost"),
        (Mutant::ReadsIgnoreFence, "a stale write is read"),
        (Mutant::WritesIgnoreGeneration, "a stale write is read"),
        (Mutant::FenceAfterRead, "a value that was stored before the steal is lost"),
    ] {
        let (broken, way) = search(mutant).expect_err("a broken rule must be found");
        assert_eq!(broken, what, "{mutant:?}: {way:#?}");
    }
}
