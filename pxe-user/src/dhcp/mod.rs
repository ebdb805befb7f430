//! proxyDHCP: a request in, a reply or a reason for silence out. Pure: no sockets, no clock.
