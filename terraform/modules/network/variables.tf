variable "name" {
  description = "Prefix of names."
  type        = string
}

variable "partition" {
  description = "AWS partition, as in ARNs."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network."
  type        = string
}

variable "zone_count" {
  description = "How many availability zones get a subnet."
  type        = number
}

variable "bucket_arns" {
  description = "The only buckets that can be reached from the network."
  type        = list(string)
}
