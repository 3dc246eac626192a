# run: succeeded_with_warnings
# rules: 8
# a: failed
# b: failed
# attempts b: 1
pipeline "cache_failure" {
  workspace {
    exclude = ["**"]
  }
  template "work" {
    command        = ["sh", "-c", "exit 3"]
    cache          = true
    cache_key      = [run.id]
    ignore_failure = true
  }
  module "a" {
    use = template.work
  }
  module "b" {
    use        = template.work
    always_run = true
    depends_on = [module.a]
  }
}
