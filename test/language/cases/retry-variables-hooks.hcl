# run: succeeded
# rules: retry s25 approval
# flags: -var loud=false -var tag=1
# first run: succeeded
# retry: -var loud=true -var tag=2
# hooks[before]: succeeded
# sure: succeeded "approved"
# approve sure: yes
# deploy: succeeded
# log deploy: 2
# shout: succeeded
# quiet: skipped "when"
# fetch: cached "result of run"
# hooks[after]: succeeded
pipeline "retry-variables-hooks" {
  variable "loud" {
    type = bool
  }
  variable "tag" {}
  hooks {
    before = "echo before"
    after  = "echo after"
  }
  module "fetch" { script = "echo fetch" }
  module "sure" {
    depends_on = [module.fetch]
    approval { message = "deploy?" }
  }
  module "deploy" {
    depends_on = [module.sure]
    script     = "echo ${var.tag}"
  }
  module "shout" {
    when   = var.loud
    script = "echo LOUD"
  }
  module "quiet" {
    when   = !var.loud
    script = "echo quiet"
  }
}
