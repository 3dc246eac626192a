# run: succeeded
# rules: 2
# flags: -skip a
# a: skipped "-skip"
# b: succeeded
pipeline "optional_skipped_by_flag" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    optional_depends_on = [module.a]
    command             = ["true"]
  }
}
