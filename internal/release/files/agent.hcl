# The configuration of the agent that runs as the service "pipelined".
#
# All settings, their values and where each comes from:
#   pipelined agent -config /etc/pipelined/agent.hcl -print-config
# After a change: systemctl restart pipelined. Running modules continue.

# Everything that the node keeps. Commands of root find the agent by it.
data_dir = "/var/lib/pipelined/agents/service"

# The cluster key is /etc/pipelined/cluster.key, and every holder of it is an admin of the
# cluster. It is made at the first start. For a cluster of several machines copy it from the
# first to the others before their first start, with owner root and mode 0600.

# The address of all ports: an IP address, or "private" or "public" for this machine's own.
# Other machines reach the agent only if it is not loopback.
# bind = "private"

# Nodes of the cluster to join. All nodes can have the same list.
# join = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

# The number of new nodes that must see each other before they make a cluster. Set it on
# all of them, with the same list of join.
# expect = 3

# "worker" never votes: for machines that come and go. "orchestrator" runs no modules.
# mode = "auto"

# How many modules run at the same time; by default the number of cores.
# max_parallel = 4

# Tags that modules can require.
# tag = ["linux", "gpu"]

# Variables of the service's environment that modules get.
# module_env = ["HTTP_PROXY", "GOPROXY"]

# Wait for running modules before the agent stops, however long they need. This needs
# TimeoutStopSec=infinity as well: systemctl edit pipelined
# drain_on_stop = true

# Save the state of the cluster into a directory that the agent's user can write.
# snapshot_dir   = "/var/lib/pipelined/snapshots"
# snapshot_every = "6h"
