//! The pieces that are held while windows close, and those of them that were given and are needed
//! no longer.

use super::grid::Grid;
use super::piece::{Piece, Role, Slice};

/// Pieces of all roles, found by panes.
#[derive(Debug)]
pub(super) struct Held<P> {
    grid: Grid,
    pieces: Vec<HeldPiece<P>>,
    dropped: Vec<Piece<P>>,
}

#[derive(Debug)]
struct HeldPiece<P> {
    piece: Piece<P>,
    /// Whether the caller gave it, and so is told when it goes.
    is_given: bool,
}

impl<P: Clone> Held<P> {
    pub(super) fn new(grid: Grid, given: Vec<Piece<P>>) -> Self {
        let mut held = Self { grid, pieces: vec![], dropped: vec![] };
        given.into_iter().for_each(|piece| held.add_given(piece));
        held
    }

    pub(super) fn add_given(&mut self, piece: Piece<P>) {
        self.pieces.push(HeldPiece { piece, is_given: true });
    }

    /// Says that a piece that was given is needed no longer, or not as it is.
    pub(super) fn drop_given(&mut self, piece: Piece<P>) {
        self.dropped.push(piece);
    }

    /// Adds what was merged under keys from `first` to `last`, where there is anything.
    pub(super) fn add_made(&mut self, role: Role, (first, last): (i64, i64), part: Option<P>) {
        let (first_us, last_us) = (self.grid.us(first), self.grid.us(last));
        let pieces = part.map(|part| Piece { role, first_us, last_us, part });
        self.pieces.extend(pieces.map(|piece| HeldPiece { piece, is_given: false }));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece<P>> {
        self.pieces.iter().map(|held| &held.piece)
    }

    /// The rows of a role with keys in `[first, end)`.
    pub(super) fn slices(&self, role: Role, first: i64, end: i64) -> Vec<Slice<P>> {
        if first >= end {
            return vec![];
        }
        let (first_us, last_us) = (self.grid.us(first), self.grid.us(end).saturating_sub(1));
        let pieces = self.iter().filter(|piece| piece.role == role);
        pieces.filter_map(|piece| piece.slice(first_us, last_us)).collect()
    }

    /// Lets go of all pieces of a role.
    pub(super) fn discard(&mut self, role: Role) {
        self.retain(|piece| piece.role != role);
    }

    /// Lets go of all pieces but those that are `needed`.
    pub(super) fn retain(&mut self, needed: impl Fn(&Piece<P>) -> bool) {
        let gone = self.pieces.extract_if(.., |held| !needed(&held.piece));
        self.dropped.extend(gone.filter(|held| held.is_given).map(|held| held.piece));
    }

    /// What is held, and which of the given pieces are not.
    pub(super) fn finish(self) -> (Vec<Piece<P>>, Vec<Piece<P>>) {
        (self.pieces.into_iter().map(|held| held.piece).collect(), self.dropped)
    }
}
