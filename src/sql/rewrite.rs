//! The one thing that the parser does not take: `TABLE t` as an argument of a function. The word
//! is dropped from the tokens, so that every other token keeps its line and column.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Drops `TABLE` before a name where an argument begins.
pub fn drop_table_keyword(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keep: Vec<bool> = (0..tokens.len()).map(|at| !is_table_argument(&tokens, at)).collect();
    tokens.into_iter().zip(keep).filter_map(|(token, keep)| keep.then_some(token)).collect()
}

fn is_table_argument(tokens: &[TokenWithSpan], at: usize) -> bool {
    is_table(&tokens[at].token)
        && matches!(
            significant(tokens[..at].iter().rev()),
            Some(Token::LParen | Token::Comma | Token::RArrow)
        )
        && matches!(significant(tokens[at + 1..].iter()), Some(Token::Word(_)))
}

fn is_table(token: &Token) -> bool {
    matches!(token, Token::Word(Word { keyword: Keyword::TABLE, quote_style: None, .. }))
}

fn significant<'a>(mut tokens: impl Iterator<Item = &'a TokenWithSpan>) -> Option<&'a Token> {
    tokens.find(|token| !matches!(token.token, Token::Whitespace(_))).map(|token| &token.token)
}
