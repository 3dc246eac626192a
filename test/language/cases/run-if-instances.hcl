# run: succeeded
# rules: 5 s23
# kill
# list: succeeded
# build[a]: succeeded
# build[b]: skipped "when is false"
# none: succeeded "no instances"
# late: skipped "when is false"
# pack[a]: succeeded
# pack[b]: succeeded
# log pack[a]: a=succeeded b=skipped none=0 late=0
# log pack[b]: a=succeeded b=skipped none=0 late=0
# strict: skipped "dependency build[b] was skipped"
pipeline "run_if_instances" {
  workspace {
    exclude = ["**"]
  }
  module "list" {
    command = ["sh", "-c", "echo '{\"names\": [\"x\"], \"more\": false}' > $PIPELINED_OUTPUT"]
  }
  module "build" {
    matrix  = { name = ["a", "b"] }
    when    = matrix.name == "a"
    command = ["true"]
  }
  module "none" {
    for_each = []
    command  = ["true"]
  }
  module "late" {
    for_each = module.list.result.names
    when     = false
    command  = ["true"]
  }
  module "pack" {
    matrix  = { name = ["a", "b"] }
    run_if  = "not_failed"
    command = ["echo", "a=${module.build["a"].status}", "b=${module.build["b"].status}", "none=${length(module.none)}", "late=${length(module.late)}"]
  }
  module "strict" {
    depends_on = [module.build]
    command    = ["true"]
  }
}
