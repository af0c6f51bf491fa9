//! Tunnels over real TCP on loopback, between identities of a real authority.

#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tunnels;
