//! `emco-lab serve` as a process: what peers see of it over the network, and what is left of it when
//! it is killed.

#[cfg(test)]
mod bulk;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod ingest;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod page;
#[cfg(test)]
mod traces;
