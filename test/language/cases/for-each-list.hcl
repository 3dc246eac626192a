# run: succeeded
# rules: 3 s23
# a[0]: succeeded
# a[1]: succeeded
# log a[1]: 1 y
pipeline "for_each_list" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    for_each = ["x", "y"]
    command  = ["echo", tostring(each.key), each.value]
  }
}
