# run: failed
# rules: 3 s23
# a: failed
# none: skipped "dependency a failed"
# b: skipped
pipeline "for_each_nothing_after_failure" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "none" {
    depends_on = [module.a]
    for_each   = []
    command    = ["true"]
  }
  module "b" {
    depends_on = [module.none]
    command    = ["true"]
  }
}
