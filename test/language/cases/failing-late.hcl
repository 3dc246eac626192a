# run: failed
# rules: 3 5
# kill
# a: succeeded
# b: failed
# c: succeeded
# d: skipped
pipeline "failing_late" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["sleep", "0.5"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["sh", "-c", "sleep 0.5; exit 9"]
  }
  module "c" {
    depends_on = [module.b]
    always_run = true
    command    = ["sleep", "0.5"]
  }
  module "d" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
