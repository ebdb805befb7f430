//! What cargo cannot do, as a library: set-up and the lab of namespaces and virtual machines.
