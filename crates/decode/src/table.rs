//! EMCO's free-text keys and what each of them means.
//!
//! Keys are as written in the code, case, spaces and colons included; what is not here becomes a
//! field under `emco.fields`. A name's value is always a string, so that no mapping can clash.

use std::sync::LazyLock;

use memchr::arch::all::is_equal;

/// What a key's value becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The message.
    Message,
    /// The severity.
    Level,
    /// logrus' time.
    Time,
    /// zap's time.
    Ts,
    /// EMCO's call site.
    Source,
    /// zap's call site.
    Caller,
    /// A string, number or boolean, kept as a string under the schema key.
    Name,
    /// Any value, kept as its text under the schema key.
    Text,
    /// A port number.
    Port,
    /// `<AppContext id>-<app>`, if it looks like one.
    Label,
    /// Path variables: an object of names.
    Parameters,
    /// Masked whatever it is.
    Secret,
}

/// A key with its meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    key: &'static str,
    pub(crate) role: Role,
    /// Schema key; empty where the role has none of its own.
    pub(crate) name: &'static str,
    /// A number of its own for each schema key, below 128.
    pub(crate) bit: u8,
}

/// Schema keys with the raw keys they gather, `|` between them.
const GROUPS: &[(Role, &str, &str)] = &[
    (Role::Message, "message", "msg"),
    (Role::Level, "log.level", "level"),
    (Role::Time, "", "time"),
    (Role::Ts, "", "ts"),
    (Role::Source, "log.origin", "SOURCE"),
    (Role::Caller, "log.origin", "caller"),
    (Role::Name, "log.logger", "logger"),
    (Role::Name, "emco.project", "project|Project"),
    (
        Role::Name,
        "emco.composite_app",
        "compositeApp|CompositeApp|compositeapp|composite-app|composite app|CompositeAppName|cApp|composite_app",
    ),
    (
        Role::Name,
        "emco.composite_app_version",
        "compositeAppVer|compositeAppVersion|CompositeAppVersion|composite-app-ver|composite-app-version|composite app version|compositeappversion|caVersion|version|Version|cAppVer|composite_app_version",
    ),
    (
        Role::Name,
        "emco.target_composite_app_version",
        "targetCompositeAppVersion|targetcompositeappversion",
    ),
    (
        Role::Name,
        "emco.deployment_intent_group",
        "depGroup|dep-group|DeploymentIntentGroup|DeploymentIntentGroup |DeploymentIntentGroup: |deploymentintentgroup|deploymentIntentGroup|dig|DIG|deployment-intent-group|deployment intent group|deploymentGroup|deploymentgroup|deployIntentGroup|sourcedeploymentintentgroup",
    ),
    (
        Role::Name,
        "emco.target_deployment_intent_group",
        "targetDigName|targetDeploymentName|targetdeploymentintentgroup",
    ),
    (Role::Name, "emco.release", "Release"),
    (
        Role::Name,
        "emco.logical_cloud",
        "logicalcloud|logicalCloud|logical cloud|LogicalCloud|Logicalcloud|logical_cloud",
    ),
    (
        Role::Name,
        "emco.cluster_reference",
        "clusterreference|clusterReference|cluster ref",
    ),
    (
        Role::Name,
        "emco.cluster_provider",
        "clusterProvider|provider-name|provider|.Provider|ClusterProvider|Provider|cluster provider|cluster_provider",
    ),
    (
        Role::Name,
        "emco.cluster",
        "cluster|Cluster|Cluster |cluster-name|ClusterName|cluster name|clusterName|cluster_name|.Cluster|cn|cluster::|kube_cluster_name",
    ),
    (
        Role::Text,
        "emco.clusters",
        "clusters|dcmClusters|mandatoryClusters|listOfClusters|cl|gmap|GroupMap|groupMap",
    ),
    (
        Role::Name,
        "emco.app",
        "app|App|AppName|AppName |appName|an|app name|app-name|app-nme|appname",
    ),
    (
        Role::Name,
        "emco.app_context_id",
        "appContextID|appContextId|AppContext|acID|ContextID|contextID|context|AppContextID|AppContextId|appContext|appcontext|cid|ctxval::",
    ),
    (
        Role::Name,
        "emco.source_app_context_id",
        "FromAppContext|sourceCtxId|oldCID|oldCid",
    ),
    (
        Role::Name,
        "emco.target_app_context_id",
        "ToAppContext|targetCtxId|newCID",
    ),
    (
        Role::Name,
        "emco.related_app_context_id",
        "reference Cid|childContext",
    ),
    (
        Role::Name,
        "emco.app_context_handle",
        "CompositeAppHandle|AppHandle|ClusterHandler|InstructionHandler|Handle|ClusterMetaHandler|ResourceHandler|handle|chandle|qhandle|resource handle|subresource handle|dh|key ::|sid :: ",
    ),
    (Role::Text, "emco.app_context_handles", "handles"),
    (Role::Label, "emco.app_context_label", "id|label"),
    (
        Role::Name,
        "emco.resource",
        "resource|Resource|res|ResourceName|resource-name|resourceName|resource_name|res-name",
    ),
    (
        Role::Text,
        "emco.resources",
        "resources|hooks|Dependency|SortedTemplate",
    ),
    (
        Role::Name,
        "emco.controller",
        "Controller|controller|controllerName|ControllerName|RsyncName|Rsyncname|Server|grpc-server|controller-name",
    ),
    (
        Role::Text,
        "emco.controllers",
        "listOfControllers|ActionControllers::|PlacementControllers::|action-controllers|placement-controllers|all-placement-controllers|pl.pActCont::|mapOfControllers::",
    ),
    (
        Role::Name,
        "emco.controller_type",
        "Spec.Type|Controller type",
    ),
    (
        Role::Name,
        "emco.intent",
        "controllerIntentName|Intent|GenPlmtIntent|Searched for GenPlmtIntent|intent|intentName|intent name|intent-name|IntentName|hpa-intent-name|tac-intent|TacIntent|tacIntent|sfc intent|genericPlacementIntent",
    ),
    (Role::Name, "emco.namespace", "namespace|.Namespace|appns"),
    (
        Role::Name,
        "emco.logical_cloud_level",
        "fields.level|.Level|applevel|lclevel|p.gitProvider.Level",
    ),
    (
        Role::Name,
        "emco.revision",
        "revision|Revision|rbRev|Updated to revisionID|Rollback revisionID",
    ),
    (Role::Name, "emco.event", "event|Event"),
    (
        Role::Name,
        "emco.status",
        "status|Status|state|Status Type|ready-status",
    ),
    (
        Role::Name,
        "emco.subscriber",
        "client|clientId|clientName|rsync readyNotify clientId|ClientName",
    ),
    (Role::Name, "emco.reply", "Message|message|Succeeded"),
    (
        Role::Name,
        "error.message",
        "Error|error|err|Err|Error |err:|err1|err2|Reason|returnValue",
    ),
    (Role::Name, "server.address", "Host|host|Hostname|New Host"),
    (Role::Port, "server.port", "Port|port|PortNumber|New Port"),
    (
        Role::Name,
        "emco.git.branch",
        "branchName|branch|mergeBranch|mergeHeadMergeBranch|remoteBranch",
    ),
    (
        Role::Name,
        "emco.file",
        "File|file: |Dir: |fileName|filename|filepath|path|YAML PATH|Profile Path|chartBasePath|OutPutDirectory ",
    ),
    (
        Role::Text,
        "emco.request_body",
        "req|Body|json:|Module|reqDump",
    ),
    (Role::Parameters, "emco.path_params", "Parameters"),
    (
        Role::Secret,
        "",
        "accessToken|token|clientSecret|clientID|tenantID|subscriptionID|kvpair|gitProvider|gp|gs|value|csr|files",
    ),
];

/// Slots of the hash table; a power of two, a quarter full.
const SLOTS: usize = 1024;

/// Finds a key's entry.
pub(crate) struct Table {
    entries: Vec<Entry>,
    /// Index into `entries` plus one.
    slots: Vec<u16>,
}

/// The one table of the process.
pub(crate) static TABLE: LazyLock<Table> = LazyLock::new(Table::build);

impl Table {
    fn build() -> Self {
        let mut table = Self {
            entries: Vec::new(),
            slots: vec![0; SLOTS],
        };
        let mut names: Vec<&str> = Vec::new();
        for (role, name, keys) in GROUPS {
            let known = names
                .iter()
                .position(|known| known == name && !name.is_empty());
            let bit = known.unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            for key in keys.split('|') {
                table.insert(Entry {
                    key,
                    role: *role,
                    name,
                    bit: u8::try_from(bit).unwrap_or(127),
                });
            }
        }
        table
    }

    fn insert(&mut self, entry: Entry) {
        let mut slot = hash(entry.key.as_bytes()) & (SLOTS - 1);
        while self.slots.get(slot).is_some_and(|used| *used > 0) {
            slot = (slot + 1) & (SLOTS - 1);
        }
        self.entries.push(entry);
        if let Some(free) = self.slots.get_mut(slot) {
            *free = u16::try_from(self.entries.len()).unwrap_or(0);
        }
    }

    /// The entry of exactly this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let mut slot = hash(key) & (SLOTS - 1);
        loop {
            let index = usize::from(*self.slots.get(slot)?);
            let entry = self.entries.get(index.checked_sub(1)?)?;
            if is_equal(entry.key.as_bytes(), key) {
                return Some(entry);
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
    }
}

/// Mixes length, first and last eight bytes: enough to tell these keys apart.
fn hash(key: &[u8]) -> usize {
    let long = key.first_chunk::<8>().zip(key.last_chunk::<8>());
    let middle = key.first_chunk::<4>().zip(key.last_chunk::<4>());
    let (first, last) = if let Some((first, last)) = long {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let Some((first, last)) = middle {
        let word = |half: &[u8; 4]| u64::from(u32::from_le_bytes(*half));
        (word(first), word(last))
    } else {
        let byte = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
        (byte(0) << 16 | byte(1) << 8 | byte(2), 0)
    };
    let mixed =
        (first ^ last.rotate_left(29) ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_none_is_listed_twice() {
        for (role, name, keys) in GROUPS {
            for key in keys.split('|') {
                let entry = TABLE.get(key.as_bytes()).unwrap();
                assert_eq!(
                    (entry.role, entry.name),
                    (*role, *name),
                    "{key} is listed twice"
                );
            }
        }
        for key in [
            "",
            "Msg",
            "projects",
            "a key that is longer than eight bytes",
        ] {
            assert!(TABLE.get(key.as_bytes()).is_none(), "{key}");
        }
    }

    #[test]
    fn every_schema_key_has_a_bit_of_its_own() {
        let bits: std::collections::BTreeMap<_, _> = TABLE
            .entries
            .iter()
            .filter(|entry| !entry.name.is_empty())
            .map(|entry| (entry.bit, entry.name))
            .collect();
        let names: std::collections::BTreeSet<_> = bits.values().collect();
        assert_eq!(bits.len(), names.len());
        assert!(TABLE.entries.iter().all(|entry| entry.bit < 127));
    }
}
