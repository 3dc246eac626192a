# run: succeeded
# rules: 3 s23
# a[k]: succeeded
# a[l]: succeeded
# log a[l]: l 2
pipeline "for_each_map" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    for_each = { k = 1, l = 2 }
    command  = ["echo", each.key, tostring(each.value)]
  }
}
