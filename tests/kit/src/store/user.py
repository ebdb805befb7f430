"""Makes a bucket, and a user who may do everything with it: ENDPOINT BUCKET AUTHORITY. Prints the user's key."""

import json
import sys

import boto3

endpoint, bucket, authority = sys.argv[1:]


def client(service):
    return boto3.client(
        service, endpoint_url=endpoint, verify=authority, region_name="us-east-1",
        aws_access_key_id="unused", aws_secret_access_key="unused",
    )


client("s3").create_bucket(Bucket=bucket)
iam = client("iam")
iam.create_user(UserName="pxed")
statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
iam.put_user_policy(UserName="pxed", PolicyName="all", PolicyDocument=policy)
key = iam.create_access_key(UserName="pxed")["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
