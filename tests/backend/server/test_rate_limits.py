from backend.server.rate_limits import Bucket, ClientLimits, ClientRates


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = Bucket(per_second=10.0, most=20.0, now=0.0)

    assert sum(bucket.take(1, 0.0) for _ in range(100)) == 20
    assert sum(bucket.take(1, 0.5) for _ in range(100)) == 5


def test_a_clock_that_stands_still_or_goes_back_fills_nothing():
    bucket = Bucket(per_second=10.0, most=1.0, now=5.0)
    bucket.take(1, 5.0)

    assert not bucket.take(1, 5.0)
    assert not bucket.take(1, 4.0)


def test_more_than_a_bucket_holds_is_taken_from_a_full_one_and_paid_off():
    bucket = Bucket(per_second=10.0, most=20.0, now=0.0)

    assert bucket.take(50, 0.0)
    assert not bucket.take(1, 2.9)  # 20 - 50 + 29 is less than 0
    assert bucket.take(1, 3.2)


def test_a_client_may_do_for_two_seconds_what_it_may_do_in_them():
    limits = ClientLimits(ClientRates(requests_per_second=10.0), 0.0)

    allowed = [limits.refuse_request(0.0) == "" for _ in range(30)]

    assert sum(allowed) == 20
    assert limits.refuse_request(0.0) == "more than 10 requests a second"


def test_a_flood_of_messages_or_bytes_is_refused():
    limits = ClientLimits(ClientRates(messages_per_second=10.0, bytes_per_second=2.0**20), 0.0)

    assert [limits.refuse_message(10, 0.0) for _ in range(21)][-1] == "more than 10 messages a second"
    assert limits.refuse_message(2**30, 10.0) == ""  # 10 s later the buckets are full: one large message is allowed
    assert limits.refuse_message(10, 11.0) == "more than 1 MiB a second"


def test_work_is_paid_off_before_more_is_looked_at():
    limits = ClientLimits(ClientRates(work_share=0.25), 0.0)
    limits.charge_work(1.0, 0.0)  # of 0.5 s that are there

    assert limits.refuse_message(1, 1.0) == "messages that take too long to read"
    assert limits.refuse_message(1, 2.5) == ""  # 0.5 s of debt at 0.25 a second take 2 s


def test_refusals_are_bounded_too():
    limits = ClientLimits(ClientRates(refusals_per_second=5.0), 0.0)

    assert sum(limits.may_be_refused(0.0) for _ in range(100)) == 10
