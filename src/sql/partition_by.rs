//! `PARTITION BY` after the table of a SESSION window, which the parser does not take: it becomes
//! an argument of its own, [`PARTITION_ARGUMENT`], in the tokens.
//!
//! ```text
//!  SESSION(t PARTITION BY a, b           , DESCRIPTOR(ts), gap)
//!  SESSION(t , "PARTITION BY" => (a, b)  , DESCRIPTOR(ts), gap)
//! ```
//!
//! What is put in has the place of the words it stands for, and all other tokens keep theirs, so
//! that errors point into the text as it was written. Without brackets a comma does not tell a
//! column from the next argument: the time column and the gap are the last two arguments, unless
//! they are named or the word DESCRIPTOR shows where they begin.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::error::SqlError;
use super::window_call::{SESSION, is_window_function, usage_of};

/// The name of the argument that holds the columns.
pub(super) const PARTITION_ARGUMENT: &str = "PARTITION BY";

/// What is open around a token: brackets, and the window function that they belong to.
#[derive(Debug, Default)]
struct Bracket {
    /// The function's name in lower case.
    window: Option<String>,
    /// Where each argument begins.
    arguments: Vec<usize>,
    /// Where `PARTITION` stands.
    partition: Option<usize>,
}

/// Tokens without the spaces between them, and what comes in place of some of them.
struct Rewriting<'a> {
    tokens: &'a [TokenWithSpan],
    /// Positions in `tokens` of what is neither space nor comment; all other positions count
    /// these.
    places: Vec<usize>,
    /// By position in `tokens`.
    replaced: BTreeMap<usize, Vec<Token>>,
}

/// Puts the columns after `PARTITION BY` into an argument.
///
/// # Errors
/// The place of a `PARTITION BY` that no window function takes there.
pub(super) fn partition_as_argument(
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, SqlError> {
    let places =
        (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let mut rewriting = Rewriting { tokens: &tokens, places, replaced: BTreeMap::new() };
    rewriting.walk()?;
    let mut replaced = rewriting.replaced;
    let mut rewritten = Vec::with_capacity(tokens.len());
    for (at, old) in tokens.into_iter().enumerate() {
        match replaced.remove(&at) {
            Some(new) => {
                rewritten.extend(new.into_iter().map(|new| TokenWithSpan::new(new, old.span)));
            }
            None => rewritten.push(old),
        }
    }
    Ok(rewritten)
}

impl Rewriting<'_> {
    fn walk(&mut self) -> Result<(), SqlError> {
        let mut open: Vec<Bracket> = Vec::new();
        for at in 0..self.places.len() {
            match self.token(at) {
                Some(Token::LParen | Token::LBracket | Token::LBrace) => {
                    let window = self.window_before(at);
                    open.push(Bracket { window, arguments: vec![at + 1], partition: None });
                }
                Some(Token::RParen | Token::RBracket | Token::RBrace) => {
                    if let Some(call) = open.pop()
                        && let Some(partition) = call.partition
                    {
                        self.rewrite(&call.arguments, partition, at);
                    }
                }
                Some(Token::Comma) => {
                    if let Some(bracket) = open.last_mut() {
                        bracket.arguments.push(at + 1);
                    }
                }
                Some(_) if self.is_partition_by(at) => {
                    if let Some(call) = open.last_mut()
                        && let Some(window) = &call.window
                    {
                        self.check(window, call, at)?;
                        call.partition = Some(at);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.places.get(at).map(|place| &self.tokens[*place].token)
    }

    fn is_keyword(&self, at: usize, keyword: Keyword) -> bool {
        matches!(self.token(at), Some(Token::Word(word)) if word.keyword == keyword)
    }

    fn is_partition_by(&self, at: usize) -> bool {
        self.is_keyword(at, Keyword::PARTITION) && self.is_keyword(at + 1, Keyword::BY)
    }

    fn window_before(&self, bracket: usize) -> Option<String> {
        let Some(Token::Word(name)) = self.token(bracket.checked_sub(1)?) else { return None };
        let name = name.value.to_lowercase();
        is_window_function(&name).then_some(name)
    }

    /// The name of the argument that begins at `start`, if it has one.
    fn name_of(&self, start: usize) -> Option<String> {
        match (self.token(start), self.token(start + 1)) {
            (Some(Token::Word(name)), Some(Token::RArrow)) => Some(name.value.to_lowercase()),
            _ => None,
        }
    }

    /// Whether `PARTITION BY` at `at` follows the table of a session, for the first time.
    fn check(&self, window: &str, call: &Bracket, at: usize) -> Result<(), SqlError> {
        let start = self.tokens[self.places[at]].span.start;
        let refuse = |message: String| Err(SqlError::at(start.line, start.column, message));
        let usage = usage_of(window);
        if window != SESSION {
            return refuse(format!(
                "{} takes no PARTITION BY, for its windows are the same for all rows; only SESSION \
                 does: {usage}",
                window.to_uppercase()
            ));
        }
        let argument = call.arguments.last().copied().unwrap_or_default();
        let table = match self.name_of(argument) {
            Some(name) => name == "data" && argument + 2 < at,
            None => call.arguments.len() == 1 && argument < at,
        };
        if !table || call.partition.is_some() {
            return refuse(format!("PARTITION BY follows the table, once: {usage}"));
        }
        Ok(())
    }

    /// Rewrites one call, whose bracket closes at `end`.
    fn rewrite(&mut self, arguments: &[usize], partition: usize, end: usize) {
        let name = Token::Word(Word {
            value: PARTITION_ARGUMENT.to_owned(),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        });
        let by = partition + 1;
        let mut begin = vec![name, Token::RArrow];
        if self.token(by + 1) != Some(&Token::LParen) {
            begin.push(Token::LParen);
            let after = self.after_columns(arguments, by + 1, end);
            if let Some(token) = self.token(after).cloned() {
                self.replaced.insert(self.places[after], vec![Token::RParen, token]);
            }
        }
        self.replaced.insert(self.places[partition], vec![Token::Comma]);
        self.replaced.insert(self.places[by], begin);
    }

    /// The comma or bracket after the last column of a list that begins at `first`.
    fn after_columns(&self, arguments: &[usize], first: usize, end: usize) -> usize {
        let after: Vec<usize> = arguments.iter().copied().filter(|at| *at > first).collect();
        let items: Vec<usize> = std::iter::once(first).chain(after).collect();
        let is_descriptor = |at: usize| {
            matches!(self.token(at), Some(Token::Word(word))
                if word.value.eq_ignore_ascii_case("descriptor"))
                && self.token(at + 1) == Some(&Token::LParen)
        };
        let descriptor = items.iter().position(|at| is_descriptor(*at));
        let columns = descriptor.unwrap_or_else(|| {
            let names: Vec<String> = arguments.iter().filter_map(|at| self.name_of(*at)).collect();
            let others = ["timecol", "gap"];
            let rest = others.iter().filter(|other| !names.iter().any(|name| name == *other));
            let plain = items.iter().take_while(|at| self.name_of(**at).is_none()).count();
            plain.saturating_sub(rest.count())
        });
        items.get(columns.max(1)).map_or(end, |next| next - 1)
    }
}
