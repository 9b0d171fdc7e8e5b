//! A bound on how deep a statement can nest, read off its tokens before anything is built from it.
//!
//! `1 + 1 + 1 ...` nests as deep as it is long, and so does `SELECT ... UNION SELECT ...`. The
//! parser counts neither, and some thousands of either overflow the stack of the thread that plans
//! or drops them, which ends the process and every job in it.
//!
//! ```text
//!  operators in one expression:   a + (b * c - d) + e, f    4, then 0 from the comma on
//!  parts of a text:               SELECT, FROM and its commas, JOIN, OVER, UNION ...
//! ```
//!
//! Both are counted too high rather than too low: what is in brackets adds to what is around them.
//! No list of words is ever whole, so that two wider bounds hold for every word, known or not: the
//! tokens between two commas, those around them added, and the words of SQL in a statement. What
//! is within all bounds fits on the stacks that statements are planned on, with some to spare.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::error::SqlError;

/// Half of what was seen to fit on a stack of 2 MiB, which is what threads have.
const OPERATORS_MAX: usize = 500;
/// As above; it also keeps planning within a second or two.
const PARTS_MAX: usize = 1_000;

/// Tokens of any kind that may nest: each at most once.
const TOKENS_MAX: usize = 8_000;
/// Words that could begin something that nests, in one statement; those of lists are not among
/// them.
const WORDS_MAX: usize = 10_000;

/// What could nest.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    operators: usize,
    tokens: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.operators += other.operators;
        self.tokens += other.tokens;
    }

    fn remove(&mut self, other: Self) {
        self.operators = self.operators.saturating_sub(other.operators);
        self.tokens = self.tokens.saturating_sub(other.tokens);
    }

    fn most(self, other: Self) -> Self {
        Self {
            operators: self.operators.max(other.operators),
            tokens: self.tokens.max(other.tokens),
        }
    }
}

/// What is open around a token.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// Since the last comma.
    now: Count,
    /// The most between any two commas before.
    most: Count,
    /// Whether a comma sets one table beside another.
    is_from: bool,
    /// Whether CASE opened it, and END will close it.
    is_case: bool,
}

/// As [`check_tokens`], of a text; one that is not even tokens is the parser's to refuse.
///
/// # Errors
/// As [`check_tokens`].
pub fn check_nesting(sql: &str) -> Result<(), SqlError> {
    match Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() {
        Ok(tokens) => check_tokens(&tokens),
        Err(_) => Ok(()),
    }
}

/// Whether statements of `tokens` can be parsed, planned and dropped on any thread.
///
/// # Errors
/// The place where there is too much, with what to write instead.
pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut levels = vec![Level::default()];
    let (mut nested, mut parts, mut words) = (Count::default(), 0, 0);
    let mut before = &Token::SemiColon;
    for TokenWithSpan { token, span } in tokens {
        let is_member = *before == Token::Period;
        let is_name = is_member || keyword(before) == Keyword::AS;
        let Some(level) = levels.last_mut() else { break };
        match token {
            Token::Whitespace(_) => continue,
            Token::SemiColon => {
                levels = vec![Level::default()];
                (nested, words) = (Count::default(), 0);
            }
            Token::Comma => {
                parts += usize::from(level.is_from);
                nested.remove(level.now);
                level.most = level.most.most(level.now);
                level.now = Count::default();
            }
            token if opens(token, is_name) => {
                levels.push(Level { is_case: is_case(token), ..Level::default() });
            }
            token if closes(token, is_name, level) => close(&mut levels, &mut nested),
            token => {
                let one = Count { operators: usize::from(is_operator(token)), tokens: 1 };
                level.now.add(one);
                nested.add(one);
                if let Token::Word(word) = token
                    && !is_member
                {
                    parts += usize::from(is_part(word.keyword));
                    words += usize::from(!is_name && may_begin(word.keyword));
                    level.is_from = is_from(word.keyword, level.is_from);
                }
                // It joins what is before with what follows, whatever commas are between.
                parts += usize::from(*token == Token::VerticalBarRightAngleBracket);
            }
        }
        before = token;
        if let Some(message) = too_much(nested, levels.len(), parts, words) {
            return Err(SqlError::at(span.start.line, span.start.column, message));
        }
    }
    Ok(())
}

fn too_much(nested: Count, levels: usize, parts: usize, words: usize) -> Option<String> {
    if nested.operators > OPERATORS_MAX || levels > OPERATORS_MAX {
        return Some(format!(
            "an expression has more than {OPERATORS_MAX} operators; write a list after IN, a join \
             with VALUES, or a part of it as a column of a subquery"
        ));
    }
    if parts > PARTS_MAX {
        return Some(format!(
            "there are more than {PARTS_MAX} SELECTs, tables, joins and OVERs; write less of them \
             at once"
        ));
    }
    if nested.tokens > TOKENS_MAX || words > WORDS_MAX {
        return Some(format!(
            "there are more than {TOKENS_MAX} words and signs between two commas, or {WORDS_MAX} \
             words of SQL in a statement; write less of them at once"
        ));
    }
    None
}

/// Ends the innermost level; what was deepest in it is nested in what is around it.
fn close(levels: &mut Vec<Level>, nested: &mut Count) {
    let [.., around, inner] = levels.as_mut_slice() else { return };
    let deepest = inner.now.most(inner.most);
    nested.remove(inner.now);
    nested.add(deepest);
    around.now.add(deepest);
    levels.pop();
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn is_case(token: &Token) -> bool {
    keyword(token) == Keyword::CASE
}

/// Whether `token` opens a level; CASE does not where it is a name.
fn opens(token: &Token, is_name: bool) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace) || (is_case(token) && !is_name)
}

/// Whether `token` closes `level`; END does not where it is a name, as in `w.end`.
fn closes(token: &Token, is_name: bool, level: &Level) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
        || (keyword(token) == Keyword::END && level.is_case && !is_name)
}

/// Every sign that is not known to be harmless, and the words that join two expressions into one.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::AT
                | Keyword::COLLATE
                | Keyword::DIV
                | Keyword::OVERLAPS
                | Keyword::OPERATOR
                | Keyword::PIVOT
                | Keyword::UNPIVOT
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::EOF => false,
        _ => true,
    }
}

/// Whether a word could begin something that nests: all but those of expressions, which are counted
/// as operators where they join two, and of types.
fn may_begin(keyword: Keyword) -> bool {
    !matches!(
        keyword,
        Keyword::NoKeyword
            | Keyword::AS
            | Keyword::NULL
            | Keyword::TRUE
            | Keyword::FALSE
            | Keyword::CASE
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::END
            | Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IN
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::BETWEEN
            | Keyword::CAST
            | Keyword::DATE
            | Keyword::TIMESTAMP
            | Keyword::INTERVAL
    )
}

fn is_part(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT
            | Keyword::FROM
            | Keyword::TABLE
            | Keyword::VALUES
            | Keyword::JOIN
            | Keyword::OVER
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::MINUS
    )
}

fn is_from(keyword: Keyword, before: bool) -> bool {
    match keyword {
        Keyword::FROM => true,
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::GROUP
        | Keyword::HAVING
        | Keyword::WINDOW
        | Keyword::QUALIFY
        | Keyword::ORDER => false,
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> bool {
        check_nesting(sql).is_err()
    }

    fn joined(one: &str, sign: &str, count: usize) -> String {
        vec![one; count].join(sign)
    }

    #[test]
    fn long_lists_and_many_expressions_are_no_deep_ones() {
        for sql in [
            format!("SELECT 1 WHERE x IN ({})", joined("'a'", ", ", 100_000)),
            format!("SELECT {} FROM t", joined("a + f(b, c + 1) AS x", ", ", 10_000)),
            format!("SELECT {}", joined("x = 1", " OR ", 250)),
            format!("SELECT {}", joined("CASE WHEN a = 1 THEN 2 END", ", ", 5_000)),
            "SELECT 1; ".repeat(900),
            "'".to_owned(),
            ") ] END END".to_owned(),
        ] {
            assert_eq!(check_nesting(&sql), Ok(()), "{}", &sql[..sql.len().min(50)]);
        }
    }

    #[test]
    fn what_nests_as_deep_as_it_is_long_is_refused() {
        for sql in [
            format!("SELECT {}", joined("1", "+", 600)),
            format!("SELECT {}", joined("x = 1", " OR ", 600)),
            format!("SELECT {}", joined("t.case", " || ", 600)),
            format!("SELECT 1{}", " IS NULL".repeat(600)),
            format!("SELECT 1{}", "::INT".repeat(600)),
            format!("SELECT a{}", "[1 + 1]".repeat(600)),
            format!("SELECT {}1", "NOT ".repeat(600)),
            format!("SELECT {}1{}", "(".repeat(600), ")".repeat(600)),
            format!("SELECT ({}w.end, 1)", "f(w.end, ".repeat(600)),
            format!("SELECT {}1", "f(w.end AS end, ".repeat(600)),
            // Nested and long at each level.
            format!("SELECT {}1{}", "(".repeat(40), format!("{})", "+1".repeat(20)).repeat(40)),
            format!(
                "SELECT {}1{}",
                "CASE WHEN true THEN ".repeat(40),
                format!(" END{}", "+1".repeat(20)).repeat(40)
            ),
            joined("SELECT 1, 2", " UNION ALL ", 600),
            format!("SELECT 1 FROM {}", joined("t.where", ", ", 1_100)),
            format!("SELECT 1 FROM t {}", "JOIN t ON true ".repeat(1_100)),
            format!("SELECT {}", joined("sum(a) OVER (ORDER BY b)", ", ", 1_100)),
            format!("WITH {} SELECT 1", joined("a AS (TABLE b)", ", ", 1_100)),
        ] {
            assert!(refused(&sql), "{}", &sql[..sql.len().min(50)]);
        }
    }

    /// Every word that the parser knows, over and over: what is let through has to be read and
    /// dropped on an eighth of the stack that queries have. It runs in a process of its own, which
    /// would end if it were not so.
    #[test]
    fn no_word_of_the_parser_goes_deeper_than_a_stack() {
        const APART: &str = "TIDEGAUGE_TEST_KEYWORDS";
        if std::env::var_os(APART).is_none() {
            let name = "sql::nesting::tests::no_word_of_the_parser_goes_deeper_than_a_stack";
            let done = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(APART, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success() && said.contains("1 passed"), "{done:?}");
            return;
        }
        use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
        use datafusion::sql::sqlparser::parser::Parser;
        let check = || {
            let mut let_through = 0;
            for word in ALL_KEYWORDS {
                for (head, body, tail) in [
                    ("SELECT 1 ", format!("{word} x "), ""),
                    ("SELECT 1 FROM t ", format!("{word} x, y "), ""),
                    ("SELECT 1 FROM t ", format!("{word} (x) "), ""),
                    ("SELECT ", format!("{word} "), "1"),
                    ("", format!("{word} "), "SELECT 1"),
                    ("FROM t ", format!("|> {word} a, b "), ""),
                ] {
                    let sql = format!("{head}{}{tail}", body.repeat(1_500));
                    if check_nesting(&sql).is_err() {
                        continue;
                    }
                    let_through += 1;
                    if let Ok(statements) = Parser::parse_sql(&GenericDialect {}, &sql) {
                        drop(statements);
                    }
                }
            }
            let_through
        };
        let checked = std::thread::Builder::new().stack_size(32 << 20).spawn(check).unwrap();
        assert!(checked.join().unwrap() > 1_000);
    }

    #[test]
    fn a_sign_between_commas_does_not_hide() {
        for sql in [
            format!("FROM t {}", "|> SELECT a, b ".repeat(1_100)),
            format!("SELECT 1 FROM t {}", "LATERAL VIEW f(x) y AS a, b ".repeat(6_000)),
            format!("SELECT {}", "x ".repeat(9_000)),
            format!("SELECT 1 {}", "WHATEVER TABLESAMPLE, ".repeat(10_001)),
        ] {
            assert!(refused(&sql), "{}", &sql[..sql.len().min(50)]);
        }
    }

    #[test]
    fn the_place_is_told() {
        let error = check_nesting(&format!("SELECT 1;\nSELECT 1{}", "+1".repeat(501))).unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(1_009)));
        assert!(error.message.contains("more than 500 operators; write a list after IN"));
    }
}
