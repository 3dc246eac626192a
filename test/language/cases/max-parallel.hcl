# run: succeeded
# rules: s29
# kill
# a[1]: succeeded
# a[2]: succeeded
# a[3]: succeeded
# a[4]: succeeded
pipeline "max_parallel" {
  workspace {
    exclude = ["**"]
  }
  max_parallel = 2
  module "a" {
    matrix  = { n = [1, 2, 3, 4] }
    command = ["sleep", "0.2"]
  }
}
