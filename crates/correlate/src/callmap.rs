//! The call map: which entry points of a service can reach which log statement.
//!
//! # Format of the table
//! `data/callmap.tsv` is generated (`cargo xtask callmap`) from a static analysis of EMCO's call
//! graph; it is text so that it greps and diffs. One record a line, fields separated by tabs:
//! ```text
//! service  NAME                      what follows belongs to this service; in order of names
//! e        http|grpc|loose  NAME     entry point; its position is its index; loose = a gRPC
//!                                    method that goroutines outside any request call, too
//! a        ID KIND FLAGS MASK NAME   goroutine root: b = also started without a request,
//!                                    j = its starter waits for it; MASK = entries that start it
//! s        FILE LINE FUNC FLAGS ENTRIES ASYNC BACKGROUND TEXT
//!                                    log statement: u = reached at start-up; masks in hex;
//!                                    TEXT = constant beginning of a plain-text statement
//! ```
//! Masks are bit sets over entry indices (at most 128) and goroutine ids (at most 64).

use memchr::arch::all::{is_equal, is_prefix};
use model::line::{NameKey, Site};

use crate::sections::{section, services};

/// A set of entry points of one service.
pub type Entries = u128;
/// A set of goroutine roots of one service.
pub type Roots = u64;

/// From where one log statement can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Entry points that reach it on the request's own goroutine.
    pub entries: Entries,
    /// Goroutine roots that requests start.
    pub asyncs: Roots,
    /// Goroutine roots that run without a request.
    pub background: Roots,
    /// Whether start-up code reaches it.
    pub startup: bool,
}

impl Reach {
    /// A statement that the table does not know: everything may have printed it.
    pub const UNKNOWN: Self = Self {
        entries: Entries::MAX,
        asyncs: Roots::MAX,
        background: Roots::MAX,
        startup: true,
    };
}

impl Default for Reach {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// A goroutine root.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// Entry points that start it, directly or not.
    pub started_by: Entries,
    /// Whether it also runs without a request.
    pub background: bool,
    /// Whether its starter waits for its end.
    pub joined: bool,
    /// Its function.
    pub name: &'static str,
}

/// One entry point.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whether it is a gRPC method.
    pub grpc: bool,
    /// Whether goroutines that outlive a request call it, in traces of their own.
    pub loose: bool,
    /// `METHOD /v2/template` or `service/Method`.
    pub name: &'static str,
    method: &'static str,
    segments: Vec<&'static str>,
}

/// A log statement of the table; its line is the key it is found by.
#[derive(Clone, Copy, Debug)]
struct Statement {
    file: &'static str,
    function: &'static str,
    reach: Reach,
}

/// The call map of one service.
#[derive(Debug, Default)]
pub struct CallMap {
    entries: Vec<Entry>,
    roots: Vec<Root>,
    /// By line.
    sites: Vec<(u32, Statement)>,
    /// Of each line of source the first of its sites, or of what comes behind: there are about a
    /// thousand lines.
    first_of: Vec<u16>,
    texts: Vec<(&'static str, Reach)>,
}

/// A name that a request's path gives, e.g. `project` = `p1`.
pub type PathName<'a> = (&'static str, &'a str);

impl CallMap {
    /// The services that have a map, in order of their names; nothing is read for this.
    pub fn services() -> impl Iterator<Item = &'static str> {
        services()
    }

    /// The map of `service` (EMCO's chart name, e.g. `orchestrator`); `None` if the table has none.
    pub fn of(service: &str) -> Option<Self> {
        let section = section(service)?;
        let own = || section.lines().skip(1);
        let mut map = Self::default();
        // room for all at once: what grew on the way would stay in memory
        map.sites
            .reserve_exact(own().filter(|line| line.starts_with("s\t")).count());
        for line in own() {
            let fields: Vec<&'static str> = line.split('\t').collect();
            match fields.as_slice() {
                ["e", kind, name] => map.entries.push(Entry::parse(kind, name)),
                ["a", _, _, flags, started_by, name] => map.roots.push(Root {
                    started_by: hex128(started_by),
                    background: flags.contains('b'),
                    joined: flags.contains('j'),
                    name,
                }),
                [
                    "s",
                    file,
                    line,
                    function,
                    flags,
                    entries,
                    asyncs,
                    background,
                    text,
                ] => {
                    let reach = Reach {
                        entries: hex128(entries),
                        asyncs: hex64(asyncs),
                        background: hex64(background),
                        startup: flags.contains('u'),
                    };
                    let statement = Statement {
                        file,
                        function,
                        reach,
                    };
                    map.sites.push((line.parse().unwrap_or(0), statement));
                    if *text != "-" {
                        map.texts.push((text, reach));
                    }
                }
                _ => {}
            }
        }
        map.sites.sort_unstable_by_key(|(line, _)| *line);
        for (place, (line, _)) in (0_u16..).zip(&map.sites) {
            let behind = map.first_of.len()..=*line as usize;
            map.first_of.extend(behind.map(|_| place));
        }
        map.texts.shrink_to_fit();
        Some(map)
    }

    /// From where the statement at `site` can be reached; `None` if the table does not know it.
    pub fn site(&self, site: &Site<'_>) -> Option<Reach> {
        let from = usize::from(*self.first_of.get(site.line as usize)?);
        let find = |function: &str| {
            let behind = self.sites.get(from..).unwrap_or_default().iter();
            let mut here = behind.take_while(|(line, _)| *line == site.line);
            let own = |own: &Statement| {
                is_equal(own.function.as_bytes(), function.as_bytes())
                    && is_equal(own.file.as_bytes(), site.file.as_bytes())
            };
            here.find(|(_, statement)| own(statement))
                .map(|(_, statement)| statement.reach)
        };
        find(site.function).or_else(|| {
            // Go 1.21 renamed the literals of package variables
            let (package, rest) = site.function.split_once(".glob..func")?;
            find(&format!("{package}.init.func{rest}"))
        })
    }

    /// From where a plain-text statement that begins like `message` can be reached: the union over
    /// all that fit, `None` if none does.
    pub fn text(&self, message: &str) -> Option<Reach> {
        self.texts
            .iter()
            .filter(|(text, _)| is_prefix(message.as_bytes(), text.as_bytes()))
            .map(|(_, reach)| *reach)
            .reduce(|one, other| Reach {
                entries: one.entries | other.entries,
                asyncs: one.asyncs | other.asyncs,
                background: one.background | other.background,
                startup: one.startup | other.startup,
            })
    }

    /// The HTTP entry that serves `method` on `path` (any case, query ignored), with the names that
    /// the path gives.
    pub fn route<'a>(&self, method: &str, path: &'a str) -> Option<(u8, Vec<PathName<'a>>)> {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let fits = |entry: &&Entry| !entry.grpc && entry.fits(method, &segments);
        let index = self.entries.iter().position(|entry| fits(&entry))?;
        let entry = self.entries.get(index)?;
        Some((u8::try_from(index).ok()?, entry.names(&segments)))
    }

    /// The gRPC entry called `service/method` (any case).
    pub fn rpc(&self, name: &str) -> Option<u8> {
        let fits = |entry: &Entry| entry.grpc && entry.name.eq_ignore_ascii_case(name);
        u8::try_from(self.entries.iter().position(fits)?).ok()
    }

    /// Whether an entry of the set works on two `AppContext`s, the second one through a goroutine.
    pub fn updates(&self, set: Entries) -> bool {
        let mut entries = self.entries.iter().zip(0_u8..);
        entries.any(|(entry, index)| {
            entry.grpc && entry.name.starts_with("updateapp/") && set & bit(index) != 0
        })
    }

    /// All entries, by their index.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of that index.
    pub fn entry(&self, index: u8) -> Option<&Entry> {
        self.entries.get(usize::from(index))
    }

    /// The goroutine roots in `set`, with their ids.
    pub fn roots(&self, set: Roots) -> impl Iterator<Item = (usize, &Root)> {
        let mut rest = set;
        std::iter::from_fn(move || {
            let id = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            Some((id, self.roots.get(id)?))
        })
    }
}

/// The set that holds only `entry`.
pub fn bit(entry: u8) -> Entries {
    1_u128.checked_shl(u32::from(entry)).unwrap_or(0)
}

impl Entry {
    fn parse(kind: &str, name: &'static str) -> Self {
        let (method, path) = name.split_once(' ').unwrap_or(("", name));
        let path = path.split('?').next().unwrap_or_default();
        let segments = path.split('/').skip(1).collect();
        let (grpc, loose) = (kind != "http", kind == "loose");
        Self {
            grpc,
            loose,
            name,
            method,
            segments,
        }
    }

    /// The HTTP method, `*` for any; empty for gRPC.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The route template without method and query matcher; empty for gRPC.
    pub fn template(&self) -> &'static str {
        let path = self.name.split_once(' ').map_or("", |(_, path)| path);
        path.split('?').next().unwrap_or_default()
    }

    fn fits(&self, method: &str, segments: &[&str]) -> bool {
        (self.method == "*" || self.method.eq_ignore_ascii_case(method))
            && self.segments.len() == segments.len()
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(template, actual)| {
                    (template.starts_with('{') && !actual.is_empty())
                        || template.eq_ignore_ascii_case(actual)
                })
    }

    fn names<'a>(&self, segments: &[&'a str]) -> Vec<PathName<'a>> {
        self.segments
            .iter()
            .zip(segments)
            .filter_map(|(template, actual)| {
                let name = template.strip_prefix('{')?.strip_suffix('}')?;
                Some((name.split(':').next().unwrap_or(name), *actual))
            })
            .collect()
    }
}

/// What a path parameter names; only parameters whose meaning is the same in log fields.
pub fn name_key(parameter: &str) -> Option<NameKey> {
    Some(match parameter {
        "project" => NameKey::Project,
        "compositeApp" => NameKey::CompositeApp,
        "compositeAppVersion" => NameKey::CompositeAppVersion,
        "deploymentIntentGroup" => NameKey::DeploymentIntentGroup,
        "logicalCloud" => NameKey::LogicalCloud,
        "clusterProvider" => NameKey::ClusterProvider,
        _ => return None,
    })
}

fn hex128(text: &str) -> u128 {
    u128::from_str_radix(text, 16).unwrap_or(u128::MAX)
}

fn hex64(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_routes_sites_and_texts() {
        assert!(
            ["", "aa", "orchestra", "zz"]
                .iter()
                .all(|none| CallMap::of(none).is_none())
        );
        let map = CallMap::of("orchestrator").unwrap();
        let path = "/v2/projects/P1/composite-apps/ca/v1/deployment-intent-groups/dig1/instantiate";
        let (entry, names) = map.route("POST", path).unwrap();
        assert_eq!(names.first(), Some(&("project", "P1")));
        let text = map.text("Added Cluster: edge01 ").unwrap();
        assert!(text.entries & bit(entry) != 0);
        assert_eq!(map.route("POST", "/v2/nothing/here"), None);
        assert_eq!(
            map.site(&Site {
                file: "nowhere.go",
                line: 1,
                function: "x.Y"
            }),
            None
        );
    }

    #[test]
    fn literals_that_newer_compilers_name_otherwise_are_the_same_site() {
        let map = CallMap::of("rsync").unwrap();
        let site = |function| {
            map.site(&Site {
                file: "helpers.go",
                line: 44,
                function,
            })
        };
        assert!(site("utils.init.func1").is_some());
        assert_eq!(site("utils.init.func1"), site("utils.glob..func1"));
    }

    #[test]
    fn every_service_of_the_table_can_be_read() {
        for line in include_str!("../data/callmap.tsv").lines() {
            if let Some(service) = line.strip_prefix("service\t") {
                let map = CallMap::of(service).unwrap();
                assert!(CallMap::of(&format!("{service}-")).is_none());
                assert!(CallMap::services().any(|known| known == service));
                assert!(map.entries.len() <= 128, "{service}");
                assert!(!map.sites.is_empty() && map.roots.len() <= 64, "{service}");
            }
        }
    }
}
