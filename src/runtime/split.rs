//! Few large Parquet files as pieces that every partition can take.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::error::Result;
use crate::source::{InputFile, parquet_row_groups};

/// Cuts each file into about `pieces` runs of row groups of like size; one that has a single row
/// group stays whole.
pub(super) async fn split(
    store: &Arc<dyn ObjectStore>,
    files: Vec<InputFile>,
    pieces: usize,
) -> Result<Vec<InputFile>> {
    let mut parts = Vec::new();
    for file in files {
        let bytes = parquet_row_groups(Arc::clone(store), &file).await?;
        let piece_bytes = bytes.iter().sum::<u64>().div_ceil(pieces.max(1) as u64);
        for row_groups in ranges(&bytes, piece_bytes) {
            parts.push(InputFile { row_groups: Some(row_groups), ..file.clone() });
        }
    }
    Ok(parts)
}

/// Neighbours of at least `piece_bytes` together; every group is in one range.
fn ranges(bytes: &[u64], piece_bytes: u64) -> Vec<std::ops::Range<usize>> {
    let (mut ranges, mut first, mut held) = (Vec::new(), 0, 0);
    for (at, group) in bytes.iter().enumerate() {
        held += group;
        if held >= piece_bytes || at + 1 == bytes.len() {
            ranges.push(first..at + 1);
            (first, held) = (at + 1, 0);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_group_is_in_exactly_one_piece() {
        assert_eq!(ranges(&[10, 10, 10, 10], 20), [0..2, 2..4]);
        assert_eq!(ranges(&[50, 1, 1], 26), [0..1, 1..3]);
        assert_eq!(ranges(&[7, 0], 7), [0..1, 1..2]);
        assert!(ranges(&[], 4).is_empty());
    }
}
