//! `log.witness`: the log must not end before what it says was acknowledged.

use std::{fs, path::Path};

use rusqlite::Connection;

use crate::{
    Position,
    store::sqlite::{
        maintenance::verification::{DefectKind, StoreVerification},
        reading::read_only,
        writing::witness::HeadWitness,
    },
};

pub(super) fn check(path: &Path, log: &Connection, found: &mut StoreVerification) {
    let bytes = fs::read(path).unwrap_or_default();
    let acknowledged = HeadWitness::decode(&bytes);
    let Ok(head) = read_only::head(log) else { return };
    if head > Position::START && acknowledged.is_none() {
        let what = "log.witness is missing or damaged: a lost end would go unnoticed";
        found.defect(DefectKind::Witness, head, "", what);
    }
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > head) {
        let what = format!("positions up to {acknowledged} were acknowledged, the log ends at {head}");
        found.defect(DefectKind::Witness, head, "", what);
    }
}
