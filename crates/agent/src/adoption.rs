//! Which settings can change while the sidecar runs, and which need a new process.

use crate::settings::{Attribution, Elastic, Hub, Lanes, Logs, Settings, Spans};

/// What is taken at once; everything else needs a restart. Sections stand for all their keys.
pub(crate) const RELOADED: [&str; 8] = [
    "attribution.wait",
    "hub",
    "lanes.elastic",
    "lanes.forward",
    "lanes.otlp",
    "log_level",
    "shutdown_grace",
    "spans.keep",
];
/// Keys of sections that are taken at once which are not.
pub(crate) const FIXED: [&str; 1] = ["lanes.elastic.index_prefix"];

/// What became of new settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Keys whose new value holds from now on.
    pub(crate) taken: Vec<&'static str>,
    /// Keys whose new value holds after a restart.
    pub(crate) restart: Vec<&'static str>,
}

impl Adopted {
    fn take<T: PartialEq>(&mut self, key: &'static str, current: &mut T, new: T) {
        if *current != new {
            *current = new;
            self.taken.push(key);
        }
    }

    fn keep<T: PartialEq>(&mut self, key: &'static str, current: &T, new: &T) {
        if current != new {
            self.restart.push(key);
        }
    }

    /// A destination can change; that there is one cannot: the verdict log counts on it.
    fn lane<T: PartialEq>(&mut self, key: &'static str, current: &mut Option<T>, new: Option<T>) {
        if current.is_some() == new.is_some() {
            self.take(key, current, new);
        } else {
            self.restart.push(key);
        }
    }
}

/// Takes from `new` into `current` what can change while the sidecar runs.
pub(crate) fn adopt(current: &mut Settings, new: Settings) -> Adopted {
    let mut adopted = Adopted::default();
    // Named one by one, so that a new key has to say what it is.
    let Settings {
        service,
        state_dir,
        logs,
        spans,
        admin,
        attribution: Attribution { wait },
        hub: Hub {
            addresses,
            token_file,
            tls,
        },
        lanes:
            Lanes {
                forward,
                elastic,
                otlp,
                disk_bytes_max,
            },
        shutdown_grace,
        log_level,
    } = new;
    adopted.keep("service", &current.service, &service);
    adopted.keep("state_dir", &current.state_dir, &state_dir);
    adopt_logs(&mut adopted, &current.logs, &logs);
    let Spans {
        listen,
        disk_bytes_max: spans_bytes,
        keep,
    } = spans;
    adopted.keep("spans.listen", &current.spans.listen, &listen);
    adopted.keep(
        "spans.disk_bytes_max",
        &current.spans.disk_bytes_max,
        &spans_bytes,
    );
    adopted.take("spans.keep", &mut current.spans.keep, keep);
    adopted.keep("admin.listen", &current.admin.listen, &admin.listen);
    adopted.take("attribution.wait", &mut current.attribution.wait, wait);
    adopted.take("hub.addresses", &mut current.hub.addresses, addresses);
    adopted.take("hub.token_file", &mut current.hub.token_file, token_file);
    adopted.take("hub.tls", &mut current.hub.tls, tls);
    adopted.lane("lanes.forward", &mut current.lanes.forward, forward);
    adopted.lane("lanes.otlp", &mut current.lanes.otlp, otlp);
    adopt_elastic(&mut adopted, &mut current.lanes.elastic, elastic);
    adopted.keep(
        "lanes.disk_bytes_max",
        &current.lanes.disk_bytes_max,
        &disk_bytes_max,
    );
    adopted.take(
        "shutdown_grace",
        &mut current.shutdown_grace,
        shutdown_grace,
    );
    adopted.take("log_level", &mut current.log_level, log_level);
    adopted
}

fn adopt_logs(adopted: &mut Adopted, current: &Logs, new: &Logs) {
    let Logs {
        pod_dir,
        files,
        proxy_container,
        exclude,
    } = new;
    adopted.keep("logs.pod_dir", &current.pod_dir, pod_dir);
    adopted.keep("logs.files", &current.files, files);
    adopted.keep(
        "logs.proxy_container",
        &current.proxy_container,
        proxy_container,
    );
    adopted.keep("logs.exclude", &current.exclude, exclude);
}

/// Index names are part of a document's identity: they change between two processes only.
fn adopt_elastic(adopted: &mut Adopted, current: &mut Option<Elastic>, mut new: Option<Elastic>) {
    if let (Some(current), Some(new)) = (current.as_ref(), new.as_mut()) {
        adopted.keep(
            "lanes.elastic.index_prefix",
            &current.index_prefix,
            &new.index_prefix,
        );
        new.index_prefix.clone_from(&current.index_prefix);
    }
    adopted.lane("lanes.elastic", current, new);
}

/// Whether the key at `path` is taken while the sidecar runs.
#[cfg_attr(
    not(any(test, feature = "schema")),
    expect(dead_code, reason = "for the documentation")
)]
pub(crate) fn is_reloaded(path: &str) -> bool {
    let below = |section: &&str| {
        path == *section
            || path
                .strip_prefix(*section)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    RELOADED.iter().any(below) && !FIXED.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Compression, Forward, Tls};
    use crate::units::Time;

    fn forward(address: &str) -> Forward {
        Forward {
            address: address.to_owned(),
            tag: None,
            shared_key_file: None,
            username: None,
            password_file: None,
            ack_timeout: None,
            tls: None,
            compression: Compression::None,
        }
    }

    fn elastic(url: &str, prefix: &str) -> Elastic {
        Elastic {
            url: url.to_owned(),
            index_prefix: Some(prefix.to_owned()),
            username: None,
            password_file: None,
            api_key_file: None,
            token_file: None,
            request_timeout: None,
            tls: Tls::default(),
            compression: Compression::None,
        }
    }

    #[test]
    fn what_can_be_taken_is_and_the_rest_is_named() {
        let mut current = Settings::default();
        current.lanes.forward = Some(forward("a:1"));
        current.lanes.elastic = Some(elastic("http://a", "one"));
        let mut new = current.clone();
        new.service = "clm".to_owned();
        new.attribution.wait = Time::seconds(3);
        new.spans.keep = Time::hours(1);
        new.spans.disk_bytes_max += 1;
        new.lanes.forward = Some(forward("b:1"));
        new.lanes.elastic = Some(elastic("http://b", "two"));
        let adopted = adopt(&mut current, new.clone());
        let taken = [
            "spans.keep",
            "attribution.wait",
            "lanes.forward",
            "lanes.elastic",
        ];
        assert_eq!(adopted.taken, taken);
        let restart = [
            "service",
            "spans.disk_bytes_max",
            "lanes.elastic.index_prefix",
        ];
        assert_eq!(adopted.restart, restart);
        assert_eq!(current.lanes.elastic, Some(elastic("http://b", "one")));
        assert!(current.service.is_empty());
        let again = adopt(&mut current, new);
        assert_eq!(
            (again.taken.len(), again.restart.as_slice()),
            (0, restart.as_slice())
        );
    }

    #[test]
    fn a_destination_neither_comes_nor_goes() {
        let mut current = Settings::default();
        current.lanes.forward = Some(forward("a:1"));
        let mut new = current.clone();
        new.lanes.elastic = Some(elastic("http://b", "two"));
        new.lanes.forward = None;
        let adopted = adopt(&mut current, new);
        assert_eq!(adopted.restart, ["lanes.forward", "lanes.elastic"]);
        assert!(current.lanes.forward.is_some() && current.lanes.elastic.is_none());
    }

    #[test]
    fn every_key_is_one_or_the_other() {
        for path in [
            "log_level",
            "hub.addresses",
            "lanes.forward.tls.ca_file",
            "lanes.elastic.url",
        ] {
            assert!(is_reloaded(path), "{path}");
        }
        for path in [
            "service",
            "logs.files",
            "lanes.elastic.index_prefix",
            "lanes.disk_bytes_max",
            "log_levels",
        ] {
            assert!(!is_reloaded(path), "{path}");
        }
    }
}
