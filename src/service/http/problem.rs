//! Answers that say no: always `{"error": ...}`, whatever went wrong where.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegauge_spec::BadJob;

use crate::error::{Error, ErrorKind};
use crate::service::{NotAccepted, Refusal};

/// A request that was not done.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    body: serde_json::Value,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": error.into() }) }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        let form = "send {\"job\": \"<yaml>\", \"sql\": \"<sql>\"} as application/json, at most \
                    1 MiB";
        Self::new(rejection.status(), format!("{}; {form}", rejection.body_text()))
    }
}

impl From<NotAccepted> for Refused {
    fn from(why: NotAccepted) -> Self {
        match why {
            NotAccepted::Bad(bad) => bad.into(),
            NotAccepted::Forbidden(why) => Self::new(StatusCode::FORBIDDEN, why),
            NotAccepted::Refused(refusal) => {
                let status = match refusal {
                    Refusal::Taken(_) => StatusCode::CONFLICT,
                    Refusal::Full | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                };
                Self::new(status, refusal.to_string())
            }
            NotAccepted::Busy => {
                let why = "other jobs are being submitted; submit this one again in a moment";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
            }
            NotAccepted::Failed(error) => error.into(),
        }
    }
}

impl From<BadJob> for Refused {
    fn from(bad: BadJob) -> Self {
        let problems: Vec<serde_json::Value> = bad
            .problems
            .iter()
            .map(|problem| {
                json!({
                    "file": problem.file.display().to_string(),
                    "line": problem.line,
                    "path": problem.path,
                    "message": problem.message,
                })
            })
            .collect();
        let count = problems.len();
        let error = format!("the job has {count} problem{}", if count == 1 { "" } else { "s" });
        Self {
            status: StatusCode::BAD_REQUEST,
            body: json!({ "error": error, "problems": problems, "text": bad.to_string() }),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}
