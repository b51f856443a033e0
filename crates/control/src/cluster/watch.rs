//! Hears of changes of one object.

use std::fmt::Debug;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use kube::Resource;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use serde::de::DeserializeOwned;

/// Changes of one object. What it says is read by whoever hears of it.
pub struct Watch(Pin<Box<dyn Stream<Item = ()> + Send>>);

impl Watch {
    /// Watches the object of that name.
    pub fn of<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> Self
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watch_all(api, config).default_backoff();
        let name = name.to_owned();
        let changes =
            events.filter_map(move |event: watcher::Result<Event<PartialObjectMeta<K>>>| {
                let change = match event {
                    Ok(Event::Init | Event::InitApply(_)) => None,
                    Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => Some(()),
                    Err(error) => {
                        tracing::warn!(
                            name,
                            error = net::chain(&error),
                            "watching was interrupted"
                        );
                        None
                    }
                };
                std::future::ready(change)
            });
        Self(Box::pin(changes))
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.0.next().await.is_none() {
            // a watch never ends by itself
            std::future::pending::<()>().await;
        }
    }
}
