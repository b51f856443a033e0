//! `AdmissionReview` of `admission.k8s.io/v1`: what the API server asks, and what it is told.
//!
//! The pod is taken as the JSON it is. A typed pod would lose the fields of a newer Kubernetes, and
//! the types of the client library write a patch as a list of numbers, four times as long.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inject::{Decision, Settings, Surroundings, review};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Not what an API server sends.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// No JSON, or other JSON.
    #[error("the body is no AdmissionReview")]
    Json(#[from] serde_json::Error),
    /// Another version of it, or something else.
    #[error("the body is {kind} of {version}, not AdmissionReview of admission.k8s.io/v1")]
    Other {
        /// What it calls itself.
        kind: String,
        /// In which version.
        version: String,
    },
    /// Nothing is asked.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Names the question.
    pub uid: String,
    /// Where the pod will be.
    #[serde(default)]
    pub namespace: String,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    operation: String,
    kind: GroupKind,
    #[serde(default)]
    sub_resource: String,
    /// The pod.
    #[serde(default)]
    pub object: Value,
}

#[derive(Debug, Deserialize)]
struct GroupKind {
    #[serde(default)]
    group: String,
    kind: String,
}

/// What the API server is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(rename = "response")]
    answer: Answer<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    uid: &'a str,
    /// Always: a pod is never kept from running by us.
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

impl Request {
    /// Reads the body of a call.
    ///
    /// # Errors
    /// If it is no question.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let review: Review = serde_json::from_slice(body)?;
        if review.api_version != API_VERSION || review.kind != KIND {
            return Err(Malformed::Other {
                kind: review.kind,
                version: review.api_version,
            });
        }
        review.request.ok_or(Malformed::NoRequest)
    }

    /// What is done; nothing if it is not about a new pod.
    pub fn decide(&self, settings: &Settings, surroundings: &Surroundings) -> Option<Decision> {
        let pod = self.kind.group.is_empty() && self.kind.kind == "Pod";
        let new = self.operation == "CREATE" && self.sub_resource.is_empty();
        (pod && new).then(|| review(&self.object, settings, surroundings))
    }

    /// What the API server is told of it.
    ///
    /// # Errors
    /// If the patch cannot be written.
    pub fn answer(&self, decision: Option<&Decision>) -> serde_json::Result<Response<'_>> {
        let patch = match decision {
            Some(Decision::Inject(injection)) => Some(serde_json::to_vec(&injection.patch)?),
            _ => None,
        };
        Ok(Response {
            api_version: API_VERSION,
            kind: KIND,
            answer: Answer {
                uid: &self.uid,
                allowed: true,
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch: patch.map(|patch| STANDARD.encode(patch)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::Namespace;
    use serde_json::json;

    fn body(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut review = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "resource": { "group": "", "version": "v1", "resource": "pods" },
                "namespace": "emco",
                "operation": "CREATE",
                "dryRun": false,
                "object": {
                    "metadata": { "labels": { "app": "orchestrator" } },
                    "spec": { "containers": [{ "name": "orchestrator", "image": "emco-orch" }] },
                },
            },
        });
        change(&mut review);
        serde_json::to_vec(&review).unwrap()
    }

    fn surroundings() -> Surroundings {
        Surroundings {
            namespace: Namespace {
                inject: Some(true),
                ..Namespace::default()
            },
            ..Surroundings::default()
        }
    }

    fn answered(body: &[u8]) -> Value {
        let request = Request::read(body).unwrap();
        let decision = request.decide(&Settings::default(), &surroundings());
        serde_json::to_value(request.answer(decision.as_ref()).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_of_emco_is_patched() {
        let answer = answered(&body(|_| ()));
        assert_eq!(
            answer["response"]["uid"],
            "705ab4f5-6393-11e8-b7cc-42010a800002"
        );
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let patch = answer["response"]["patch"].as_str().unwrap();
        let patch: Vec<Value> = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        assert!(!patch.is_empty());
    }

    #[test]
    fn everything_else_is_let_through_as_it_is() {
        let unchanged = |change: fn(&mut Value)| {
            let answer = answered(&body(change));
            assert_eq!(answer["response"]["allowed"], true);
            assert_eq!(answer["response"].as_object().unwrap().len(), 2, "{answer}");
        };
        unchanged(|review| review["request"]["operation"] = json!("UPDATE"));
        unchanged(|review| review["request"]["subResource"] = json!("ephemeralcontainers"));
        unchanged(|review| review["request"]["kind"]["kind"] = json!("Deployment"));
        unchanged(|review| review["request"]["kind"]["group"] = json!("example.com"));
        unchanged(|review| review["request"]["object"]["metadata"]["labels"]["app"] = json!("x"));
        unchanged(|review| review["request"]["object"] = Value::Null);
        unchanged(|review| review["request"]["object"]["spec"] = json!([1]));
    }

    #[test]
    fn what_is_no_question_is_told_from_others() {
        let error = |body: &[u8]| Request::read(body).unwrap_err().to_string();
        assert_eq!(error(b""), "the body is no AdmissionReview");
        assert_eq!(error(b"[]"), "the body is no AdmissionReview");
        let other = error(&body(|review| {
            review["apiVersion"] = json!("admission.k8s.io/v1beta1");
        }));
        assert!(
            other.contains("AdmissionReview of admission.k8s.io/v1beta1"),
            "{other}"
        );
        let none = error(&body(|review| review["request"] = Value::Null));
        assert_eq!(none, "the AdmissionReview has no request");
    }
}
