# Three agents on three clients of Nomad, at the clients' addresses. Each client has a host
# volume "pipelined" (a block of its configuration), and the key is a variable of Nomad:
#
#   nomad var put nomad/jobs/pipelined key="$(pipelined keygen)"
#   nomad job run -var 'nodes=["10.0.0.1","10.0.0.2","10.0.0.3"]' pipelined.nomad
variable "nodes" {
  type        = list(string)
  description = "Addresses of the clients that run an agent"
}

job "pipelined" {
  type = "service"

  group "node" {
    count = 3

    # One to a machine, and one machine after the other.
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }
    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      healthy_deadline = "5m"
    }

    # Work stays where its data is: no other client has the volume.
    disconnect {
      replace = false
    }
    volume "data" {
      type   = "host"
      source = "pipelined"
    }

    network {
      mode = "host"
      port "http" {
        static = 8080
      }
      port "gossip" {
        static = 7946
      }
      port "peer" {
        static = 7947
      }
    }

    service {
      name     = "pipelined"
      port     = "http"
      provider = "nomad"
      check {
        type     = "http"
        path     = "/api/health?ready=1"
        interval = "10s"
        timeout  = "5s"
      }
    }

    task "agent" {
      driver = "docker"

      # The modules of a container end with it, so the agent stops when none runs. A client
      # allows at most its max_kill_timeout, which is 30s unless it is configured.
      kill_timeout = "1h"

      config {
        image        = "ghcr.io/pipelined/pipelined:0.1.0"
        args         = ["agent"]
        network_mode = "host"
      }

      volume_mount {
        volume      = "data"
        destination = "/var/lib/pipelined"
      }

      env {
        PIPELINED_NAME          = "${node.unique.name}"
        PIPELINED_BIND          = "${attr.unique.network.ip-address}"
        PIPELINED_JOIN          = join(",", var.nodes)
        PIPELINED_EXPECT        = "3"
        PIPELINED_DATA_DIR      = "/var/lib/pipelined/agents/node"
        PIPELINED_DRAIN_ON_STOP = "true"
      }

      template {
        data        = "PIPELINED_KEY={{ with nomadVar \"nomad/jobs/pipelined\" }}{{ .key }}{{ end }}"
        destination = "secrets/key.env"
        env         = true
      }

      resources {
        cores  = 2
        memory = 4096
      }
    }
  }
}
