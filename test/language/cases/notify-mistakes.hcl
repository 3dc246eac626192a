# run: invalid
# rules: notify 10
# error: notify "nothing" says neither where to nor what to run
# error: notify "both" has both webhook and command
# error: expected the name of a webhook, not an address
# error: on[0]: invalid value "error"
# error: message has a meaning only beside webhook
# error: env has a meaning only beside command or script
# error: a notify block can name no module, and not module.a
# error: only the message of a notify block sees run.status
# error: second notify "both"
# error: unknown attribute "url" in notify
pipeline "notify_mistakes" {
  module "a" {
    command = ["echo", run.status]
  }
  notify "nothing" {
    on = ["error"]
  }
  notify "both" {
    webhook = "chat"
    command = ["true"]
  }
  notify "both" {
    webhook = "https://hooks.slack.com/services/T0/B0/x"
    message = module.a.status
    env     = { A = "b" }
    url     = "x"
  }
  notify "message" {
    command = ["true"]
    message = "it failed"
  }
}
