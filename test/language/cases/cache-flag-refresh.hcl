# run: succeeded
# rules: 8
# flags: -refresh
# a: succeeded
# b: succeeded
# attempts b: 1
pipeline "cache_flag_refresh" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command   = ["true"]
    cache     = true
    cache_key = [run.id]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
    cache      = true
    cache_key  = [run.id]
  }
}
