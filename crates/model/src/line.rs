//! One log line before and beside its content: where its bytes are, in which dialect it speaks, and
//! the few facts of it that the ledger needs.

use crate::time::UnixNanos;

/// Standard output or standard error of the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// Access log (Common Log Format) and rare prints.
    Stdout,
    /// Everything else EMCO says.
    #[default]
    Stderr,
}

/// The grammar a line was recognised by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dialect {
    /// No decoder understood it: shipped as text.
    #[default]
    Unknown,
    /// logrus' JSON formatter, with EMCO's `SOURCE`.
    Logrus,
    /// zap's JSON encoder (the etcd client).
    Zap,
    /// Apache Common Log Format (gorilla's access log).
    CommonLog,
    /// Go's standard `log` package.
    GoLog,
    /// klog's header.
    Klog,
    /// A Go panic, fatal error or goroutine dump; one record of many lines.
    GoPanic,
    /// An Envoy access log line in JSON.
    EnvoyAccess,
}

impl Dialect {
    /// The value of `emco.dialect`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Logrus => "logrus",
            Self::Zap => "zap",
            Self::CommonLog => "common_log",
            Self::GoLog => "go_log",
            Self::Klog => "klog",
            Self::GoPanic => "go_panic",
            Self::EnvoyAccess => "envoy_access",
        }
    }
}

/// How grave a line is, in the words of `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// Finest detail.
    Trace,
    /// Debugging detail.
    Debug,
    /// Normal operation; also assumed where a dialect has no level.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// The process ends.
    Fatal,
}

impl Severity {
    /// The value of `log.level`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// Reads the level words of logrus, zap and klog in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        Some(match () {
            () if is("trace") => Self::Trace,
            () if is("debug") => Self::Debug,
            () if is("info") => Self::Info,
            () if is("warn") || is("warning") => Self::Warn,
            () if is("error") => Self::Error,
            () if is("fatal") || is("panic") || is("dpanic") => Self::Fatal,
            () => return None,
        })
    }
}

/// A run of whole physical lines of one file that belong to one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Uncompressed offset of the first byte.
    pub offset: u64,
    /// Length in bytes, including the final newline if there is one.
    pub bytes: u32,
}

impl Extent {
    /// Offset of the first byte after the extent.
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes as u64)
    }
}

/// Where a line was printed: the call site that EMCO's logger puts into `SOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site<'a> {
    /// Base name of the source file.
    pub file: &'a str,
    /// Line of the call.
    pub line: u32,
    /// Last path element of the function's full name, as printed.
    pub function: &'a str,
}

/// What a canonical field names; only keys whose meaning is certain have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NameKey {
    /// `emco.project`
    Project,
    /// `emco.composite_app`
    CompositeApp,
    /// `emco.composite_app_version`
    CompositeAppVersion,
    /// `emco.deployment_intent_group`
    DeploymentIntentGroup,
    /// `emco.logical_cloud`
    LogicalCloud,
    /// `emco.cluster_provider`
    ClusterProvider,
    /// `emco.cluster`: `provider+cluster` or a bare cluster name
    Cluster,
    /// `emco.app`
    App,
    /// `emco.app_context_id`, also when found inside a handle or a label
    AppContext,
    /// `emco.resource`: usually `name+Kind`
    Resource,
    /// `emco.namespace`
    Namespace,
    /// `emco.controller`
    Controller,
    /// A value that lives inside one operation only (a temporary directory and the like).
    Token,
}

/// One name a line mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    /// What the value names.
    pub key: NameKey,
    /// The value, unescaped.
    pub value: &'a str,
}

/// A Common Log Format line's own statement about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLine<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Request URI as logged, with its query.
    pub path: &'a str,
    /// Last status the handler set.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Second in which the handler started (one-second resolution).
    pub started: UnixNanos,
}

/// What the ledger needs of one line. Borrowed: nothing of the line's text is kept by it.
#[derive(Clone, Copy, Debug)]
pub struct LineFacts<'a> {
    /// When the process says it printed the line; [`LineFacts::arrival`] if it does not say so to
    /// better than a second.
    pub time: UnixNanos,
    /// Whether [`LineFacts::time`] is the line's own (nanosecond) time.
    pub own_time: bool,
    /// When the container runtime read it (the CRI time stamp; without CRI: when we read it).
    pub arrival: UnixNanos,
    /// Which grammar it speaks.
    pub dialect: Dialect,
    /// Which stream it came from.
    pub stream: Stream,
    /// How grave it is.
    pub severity: Severity,
    /// The call site, where the dialect has one.
    pub site: Option<Site<'a>>,
    /// The message text (unescaped), at most the first KiB.
    pub message: &'a str,
    /// The names it mentions.
    pub names: &'a [Name<'a>],
    /// Set for Common Log Format lines.
    pub access: Option<AccessLine<'a>>,
}
