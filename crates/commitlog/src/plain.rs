//! What a storage says of a failure, without what it repeats of the request: an answer of S3 holds
//! the id of the key, the string that was signed and the canonical request, and errors are shown
//! to whoever asks for a job or a row.

use std::borrow::Cow;

/// Parts of a request that tell who made it; what follows each is left out.
const SECRETS: [&str; 7] = [
    "X-Amz-Signature=",
    "X-Amz-Credential=",
    "X-Amz-Security-Token=",
    "AWSAccessKeyId=",
    "Credential=",
    "Signature=",
    "SecurityToken=",
];
/// How ids of keys begin, and how long they are.
const KEY_STARTS: [&str; 2] = ["AKIA", "ASIA"];
const KEY_LENGTH: usize = 20;
const LEFT_OUT: &str = "...";

/// `text` with an answer in XML as its code and message, and without ids of keys and signatures.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_clean = !text.contains("<Error")
        && !text.contains("<?xml")
        && !SECRETS.iter().chain(&KEY_STARTS).any(|secret| text.contains(secret));
    if is_clean {
        return Cow::Borrowed(text);
    }
    let mut said = without_answers(text);
    for secret in SECRETS {
        said = without_values(&said, secret);
    }
    Cow::Owned(without_keys(&said))
}

fn without_answers(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["<?xml", "<Error"].iter().filter_map(|tag| rest.find(tag)).min() {
        said.push_str(&rest[..start]);
        let answer = &rest[start..];
        // One that is cut off ends with the text.
        let ends = ["</ErrorResponse>", "</Error>"].iter();
        let end = ends.filter_map(|end| Some(answer.find(end)? + end.len())).max();
        let (answer, after) = answer.split_at(end.unwrap_or(answer.len()));
        match (element(answer, "Code"), element(answer, "Message")) {
            (Some(code), Some(message)) => said.extend([code, ": ", message]),
            (Some(only), None) | (None, Some(only)) => said.push_str(only),
            (None, None) => said.push_str("an answer without a code"),
        }
        rest = after;
    }
    said.push_str(rest);
    said
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    Some(after.split_once(&format!("</{name}>"))?.0.trim())
}

fn without_values(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| c == '&' || c == ',' || c == '"' || c == ')' || c.is_whitespace();
        let value = part.find(ends).unwrap_or(part.len());
        said.push_str(name);
        said.push_str(LEFT_OUT);
        said.push_str(&part[value..]);
    }
    said
}

fn without_keys(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let mut said = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if is_part(c) {
            word.push(c);
            continue;
        }
        let is_key = word.len() == KEY_LENGTH && KEY_STARTS.iter().any(|k| word.starts_with(k));
        said.push_str(if is_key { LEFT_OUT } else { &word });
        said.push(c);
        word.clear();
    }
    said.pop();
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_s3_is_its_code_and_message() {
        let key = "AKIAIOSFODNN7EXAMPLE";
        let answer = format!(
            "Error performing GET https://s3.eu-central-1.amazonaws.com/b/a.json in 1.2s - Server \
             returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\" \
             encoding=\"UTF-8\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The request \
             signature does not match.</Message><AWSAccessKeyId>{key}</AWSAccessKeyId>\
             <StringToSign>AWS4-HMAC-SHA256\n2026</StringToSign><RequestId>1</RequestId></Error>; \
             check it"
        );
        let said = plain(&answer);
        assert_eq!(
            said,
            "Error performing GET https://s3.eu-central-1.amazonaws.com/b/a.json in 1.2s - Server \
             returned non-2xx status code: 403 Forbidden: SignatureDoesNotMatch: The request \
             signature does not match.; check it"
        );
        let cut = plain(&answer[..answer.len() - 60]);
        assert!(!cut.contains("AWS4") && cut.contains("SignatureDoesNotMatch"), "{cut}");
        let nested = "x <ErrorResponse xmlns=\"y\"><Error><Type>Sender</Type><Code>Expired</Code>\
                      </Error><RequestId>1</RequestId></ErrorResponse> y";
        assert_eq!(plain(nested), "x Expired y");
    }

    #[test]
    fn keys_and_signatures_are_left_out_wherever_they_are() {
        let url = "GET https://b/x?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1&X-Amz-Signature=abc \
                   failed for (AKIAIOSFODNN7EXAMPLE)";
        assert_eq!(
            plain(url),
            "GET https://b/x?X-Amz-Credential=...&X-Amz-Signature=... failed for (...)"
        );
        for text in ["", "no such file: a<b", "ASIAN food", "AKIA"] {
            assert_eq!(plain(text), text);
        }
    }
}
