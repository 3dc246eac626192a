# run: succeeded
# rules: 3 s23
# variable: succeeded "no instances: there is nothing to run it for"
# filtered: succeeded "no instances: there is nothing to run it for"
# set: succeeded "no instances: there is nothing to run it for"
# conditional: succeeded "no instances: there is nothing to run it for"
# over: succeeded "no instances: there is nothing to run it for"
# command: succeeded
# log command: 0 {}
# script: succeeded
# log script: []
# env: succeeded
# log env: none
# when: skipped
# cached: succeeded
# hooks[after]: succeeded
pipeline "for_each_nothing_named" {
  workspace {
    exclude = ["**"]
  }
  variable "packages" {
    type    = list(string)
    default = []
  }
  locals {
    statuses = [for k, m in module.set : m.status]
  }
  hooks {
    after = "true"
  }
  module "variable" {
    for_each    = var.packages
    working_dir = each.value
    outputs     = ["${each.key}.txt"]
    command     = ["echo", each.value]
  }
  module "filtered" {
    for_each = { for p in var.packages : p => p if p != "a" }
    command  = ["echo", each.value]
  }
  module "set" {
    for_each = toset([])
    command  = ["echo", each.value]
  }
  module "conditional" {
    for_each = length(var.packages) > 0 ? ["a"] : []
    script   = "echo ${each.value}"
  }
  module "over" {
    for_each = [for k, m in module.variable : k]
    command  = ["echo", each.value]
  }
  module "command" {
    command = ["echo", tostring(length(module.variable)), jsonencode({ for k, m in module.filtered : k => m.status })]
  }
  module "script" {
    script = "echo '${jsonencode(local.statuses)}'"
  }
  module "env" {
    env     = { FIRST = try(module.conditional["0"].status, "none") }
    command = ["sh", "-c", "echo $FIRST"]
  }
  module "when" {
    when    = length(module.over) > 0
    command = ["true"]
  }
  module "cached" {
    cache     = true
    cache_key = [jsonencode(module.set)]
    command   = ["true"]
  }
}
