# engine
# kill
# rules: container
# run: failed
# talk: succeeded
# log talk: answer to hello
# log talk: service store | got hello, quietly
# sick: failed "service store was not healthy within 1s: its health check ended with exit code 1 still starting"
# log sick: service store | a broken store
# ended: failed "service store ended with exit code 4 before it was healthy"
# log ended: service store | cannot start
pipeline "services" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"

  module "talk" {
    image  = "test/busybox:1"
    script = "[ -n \"$(nslookup store 2>/dev/null)\" ] && echo hello | nc store 7000"
    service "store" {
      image   = "test/busybox:1"
      env     = { HOW = "quietly" }
      command = ["sh", "-c", "nc -ll -p 7000 -e sh -c 'read x; echo answer to $x; echo got $x, $HOW >&2' & sleep 1; touch /ready; wait"]
      health  = "test -e /ready"
    }
  }

  module "sick" {
    image  = "test/busybox:1"
    script = "echo never"
    service "store" {
      image          = "test/busybox:1"
      command        = ["sh", "-c", "echo a broken store; sleep 60"]
      health         = "echo still starting; exit 1"
      health_timeout = "1s"
    }
  }

  module "ended" {
    image  = "test/busybox:1"
    script = "echo never"
    service "store" {
      image   = "test/busybox:1"
      command = ["sh", "-c", "echo cannot start; exit 4"]
      health  = "false"
    }
  }
}
