package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;

/**
 * The result for the users that were sent in one request, in the order in which they were given.
 *
 * @param firstUser the index of the first of these users among those given.
 * @param users the number of users.
 * @param continues whether the last of these users has more blocks, which the next result is for. All others are
 *     settled.
 * @param result counts and warnings; null if the request failed. Paths count the users given, from 0.
 * @param error why the request failed, in a way that sending it again would not help; null if it did not fail.
 */
public record StreamResult(
    int firstUser, int users, boolean continues, ApplySegmentsResult result, AudienceException error) {}
